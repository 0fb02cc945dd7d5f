package judge

// paged is a sparse array by value or operation: pages of what lies together, so that writers may take their numbers
// in blocks that are far apart.
type paged[T any] struct {
	pages map[int64]*[pageSize]T
	last  *[pageSize]T // the page that was asked for last, and its number
	at    int64
}

const pageSize = 1 << 12

// slot returns the place of i, which is made if there is none.
func (p *paged[T]) slot(i int64) *T {
	n := i / pageSize
	if p.last == nil || p.at != n {
		page := p.pages[n]
		if page == nil {
			if p.pages == nil {
				p.pages = map[int64]*[pageSize]T{}
			}
			page = new([pageSize]T)
			p.pages[n] = page
		}
		p.last, p.at = page, n
	}
	return &p.last[i%pageSize]
}

// load returns what is at i: zero, if nothing was put there.
func (p *paged[T]) load(i int64) (zero T) {
	if i < 0 {
		return zero
	}
	n := i / pageSize
	if p.last == nil || p.at != n {
		page := p.pages[n]
		if page == nil {
			return zero
		}
		p.last, p.at = page, n
	}
	return p.last[i%pageSize]
}
