package sim

import "github.com/eos-proxy/eos-proxy/internal/eos"

// checkMembers refuses offsets that are not their member's to commit, or of a
// group that has members where they name none: store/commitcheck.go.
func (f *flush) checkMembers(offsets []offset) error {
	for _, o := range offsets {
		g := f.groups[o.group]
		if o.member == "" {
			if f.members[o.group] {
				return eos.NonEmptyGroup.Errorf("group %q has members", o.group)
			}
			continue
		}
		if err := f.w.checkCommit(g, o.member, o.epoch, []eos.Partition{o.partition}); err != nil {
			return err
		}
	}
	return nil
}

// checkOffsets is checkMembers, and refuses those of which the committed one is
// not the one that the client saw.
func (f *flush) checkOffsets(offsets []offset) error {
	if f.w.mutant != MemberCheckedAtStage {
		if err := f.checkMembers(offsets); err != nil {
			return err
		}
	}
	for _, o := range offsets {
		var stands *int64
		if at, there := f.committed[groupPartition{o.group, o.partition}]; there {
			stands = &at
		}
		from := o.from
		if f.w.mutant == FromIgnored {
			from = nil
		}
		if err := eos.CheckFrom(from, stands); err != nil {
			return err
		}
	}
	return nil
}

// setOffsets commits offsets that checkOffsets let pass. A member's that is
// below the one that stands changes nothing (G4).
func (f *flush) setOffsets(offsets []offset) {
	for _, o := range offsets {
		at := groupPartition{o.group, o.partition}
		committed, there := f.committed[at]
		if o.member != "" && there && f.w.advance2(committed, o.offset) != o.offset {
			continue
		}
		f.offsets = append(f.offsets, newOffset{at, o.offset, !there && o.from != nil && f.w.mutant != FromIgnored, o})
		f.committed[at] = o.offset
		if g := f.groups[o.group]; o.member != "" {
			_, _ = g.Commit(o.member, o.epoch, []eos.Partition{o.partition}) // checked: it uses the epoch
		}
	}
}
