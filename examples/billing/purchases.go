package main

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// purchase is one line of the file.
type purchase struct {
	customer string
	date     string // 2017-06-01
	cents    int64
}

// purchaseJSON is a purchase as a record's value.
type purchaseJSON struct {
	Customer string `json:"customer"`
	Date     string `json:"date"`
	Amount   string `json:"amount"` // a string: money is not a floating-point number
}

// MarshalJSON writes the purchase as a record's value.
func (p purchase) MarshalJSON() ([]byte, error) {
	return json.Marshal(purchaseJSON{p.customer, p.date, money(p.cents)})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (p *purchase) UnmarshalJSON(b []byte) error {
	var v purchaseJSON
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	cents, err := parseMoney(v.Amount)
	*p = purchase{v.Customer, v.Date, cents}
	return err
}

// money writes cents as dollars: 1177 is 11.77.
func money(cents int64) string { return fmt.Sprintf("%d.%02d", cents/100, cents%100) }

// parseMoney reads dollars with two decimals, one, or none, and returns cents.
func parseMoney(s string) (int64, error) {
	whole, part, _ := strings.Cut(s, ".")
	if len(part) > 2 {
		return 0, fmt.Errorf("amount %q has more than two decimals", s)
	}
	cents, err := strconv.ParseUint(whole+part+strings.Repeat("0", 2-len(part)), 10, 62)
	return int64(cents), err
}

func total(purchases []purchase) (cents int64) {
	for _, p := range purchases {
		cents += p.cents
	}
	return cents
}

// loadPurchases reads file. Without a name it looks for the file where it usually is; if there is none, it
// makes purchases up. source says where they are from.
func loadPurchases(file, root string) (purchases []purchase, source string, err error) {
	usual := filepath.Join(root, "..", "shared", "data", "purchases.csv")
	f, err := os.Open(or(file, usual))
	if file == "" && errors.Is(err, fs.ErrNotExist) {
		return inventPurchases(), "made up, as there is no " + usual, nil
	}
	if err != nil {
		return nil, "", err
	}
	defer f.Close() //nolint:errcheck // it was only read
	purchases, err = readPurchases(f)
	return purchases, f.Name(), err
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func readPurchases(r io.Reader) ([]purchase, error) {
	rows, err := csv.NewReader(r).ReadAll()
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 || !slices.Equal(rows[0], []string{"ID", "Date", "Amount"}) {
		return nil, errors.New("the purchases have no head ID,Date,Amount")
	}
	purchases := make([]purchase, 0, len(rows)-1)
	for i, row := range rows[1:] {
		cents, err := parseMoney(row[2])
		if err != nil || len(row[1]) != 8 {
			return nil, fmt.Errorf("line %d: %q is not a purchase: %w", i+2, row, err)
		}
		purchases = append(purchases, purchase{row[0], row[1][:4] + "-" + row[1][4:6] + "-" + row[1][6:], cents})
	}
	return purchases, nil
}

// inventPurchases returns purchases of the same shape as those of the file: as many, of as many customers,
// sorted by customer, one of them far busier than the others, some for nothing, and some that repeat
// another to the letter. It always returns the same ones.
func inventPurchases() []purchase {
	const (
		rows, customers   = 69_659, 23_544
		busiest, most     = 14_048, 217
		repeats, freebies = 255, 80
	)
	random := rand.New(rand.NewPCG(1997, 1998)) //nolint:gosec // not for secrets
	counts := make([]int, customers+1)
	for c := 1; c <= customers; c++ {
		counts[c] = 1
	}
	counts[busiest] = most
	for left := rows - customers - (most - 1); left > 0; {
		x := random.Float64()
		if c := 1 + int(x*x*customers); counts[c] < most-1 {
			counts[c]++
			left--
		}
	}
	purchases := make([]purchase, 0, rows)
	for c := 1; c <= customers; c++ {
		days := make([]int, counts[c])
		for i := range days {
			days[i] = random.IntN(18 * 28)
		}
		slices.Sort(days)
		for _, d := range days {
			date := fmt.Sprintf("%d-%02d-%02d", 2017+d/(12*28), 1+d/28%12, 1+d%28)
			purchases = append(purchases, purchase{strconv.Itoa(c), date, 500 + random.Int64N(6500)})
		}
	}
	for range freebies {
		purchases[random.IntN(rows)].cents = 0
	}
	for made := 0; made < repeats; {
		if i := 1 + random.IntN(rows-1); purchases[i].customer == purchases[i-1].customer && purchases[i] != purchases[i-1] {
			purchases[i] = purchases[i-1]
			made++
		}
	}
	return purchases
}

// books deals the purchases out to n tills. A customer always goes to the same one.
func books(purchases []purchase, n int) [][]purchase {
	all := make([][]purchase, n)
	for _, p := range purchases {
		h := fnv.New32a()
		_, _ = io.WriteString(h, p.customer)
		i := int(h.Sum32()) % n
		all[i] = append(all[i], p)
	}
	return all
}
