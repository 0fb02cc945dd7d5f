// Opens a page in Chromium, says on stdout when it has seen all records, and
// prints at the end what it has seen:  node run.mjs URL
// Where playwright-core and Chromium are, the environment says (.ci/browser).
import { createRequire } from 'node:module';

const { chromium } = createRequire(import.meta.url)(process.env.EOS_BROWSER_PLAYWRIGHT);
const args = process.getuid() === 0 ? ['--no-sandbox'] : []; // Chromium has no sandbox for root
const browser = await chromium.launch({ executablePath: process.env.EOS_BROWSER_CHROMIUM, args });
try {
  const page = await browser.newPage();
  page.on('pageerror', (error) => console.error(error));
  await page.goto(process.argv[2]);
  await page.evaluate('seen.then(() => true)');
  console.log('seen');
  console.log(JSON.stringify(await page.evaluate('closed')));
} finally {
  await browser.close();
}
