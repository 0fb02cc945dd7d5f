package sim

// random draws numbers from a seed (Steele, Lea, Flood: Fast splittable
// pseudorandom number generators, 2014).
type random uint64

func (r *random) next() uint64 {
	*r += 0x9e3779b97f4a7c15
	z := uint64(*r)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// n returns a number from 0 to before n.
func (r *random) n(n int) int { return int(r.next()>>33) % n }

// one reports true once in n times.
func (r *random) one(n int) bool { return r.n(n) == 0 }
