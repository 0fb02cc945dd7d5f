package judge

import "iter"

// rows is a list that only grows, in pieces: a slice of as many would be copied each time that it is full.
type rows[T any] struct {
	pieces []*[rowsAtOnce]T
	count  int32
}

const rowsAtOnce = 1 << 12

// add appends a row, and returns its place and its index.
func (r *rows[T]) add() (*T, int32) {
	if r.count%rowsAtOnce == 0 {
		r.pieces = append(r.pieces, new([rowsAtOnce]T))
	}
	r.count++
	return r.at(r.count - 1), r.count - 1
}

func (r *rows[T]) at(i int32) *T { return &r.pieces[i/rowsAtOnce][i%rowsAtOnce] }

// all goes over the rows, in their order.
func (r *rows[T]) all() iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for i := range r.count {
			if !yield(r.at(i)) {
				return
			}
		}
	}
}
