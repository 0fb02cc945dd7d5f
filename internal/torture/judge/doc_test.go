package judge_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestThePackageCommentNamesEachCheck that is made, in their order, with a rule that there is and the file where it is.
func TestThePackageCommentNamesEachCheck(t *testing.T) {
	t.Parallel()
	read := func(name string) string {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	_, body, _ := strings.Cut(read("judge.go"), "func (b *book) judge() {")
	body, _, _ = strings.Cut(body, "}")
	made := regexp.MustCompile(`b\.(\w+)\(\)`).FindAllStringSubmatch(body, -1)
	rows := regexp.MustCompile(`(?m)^//\t(\w+) .* (\w+\.go)$`).FindAllStringSubmatch(read("doc.go"), -1)
	if len(made) < 15 || len(made) != len(rows) {
		t.Fatalf("%d checks are made, %d are in the table", len(made), len(rows))
	}
	rules := read("../../../docs/rules.md")
	for i, row := range rows {
		if row[1] != made[i][1] {
			t.Errorf("row %d of the table is of %s, and %s is what is done then", i+1, row[1], made[i][1])
		}
		if !strings.Contains(read(row[2]), "func (b *book) "+row[1]+"() {") {
			t.Errorf("%s is not in %s", row[1], row[2])
		}
		for _, rule := range regexp.MustCompile(`\b[PTFGR]\d+\b`).FindAllString(row[0], -1) {
			if !strings.Contains(rules, "- **"+rule+" ") && !strings.Contains(rules, "- **"+rule+"**") {
				t.Errorf("%s: there is no rule %s", row[1], rule)
			}
		}
	}
}
