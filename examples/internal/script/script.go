// Package script is for tests of clients: it gives the answers that a test has written down.
package script

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// Answer gives an answer, its status and its body with a space between them; an empty one breaks the connection
// instead.
func Answer(w http.ResponseWriter, answer string) {
	if answer == "" {
		panic(http.ErrAbortHandler)
	}
	status, body, _ := strings.Cut(answer, " ")
	code, err := strconv.Atoi(status)
	if err != nil {
		panic(err)
	}
	w.WriteHeader(code)
	fmt.Fprint(w, body)
}
