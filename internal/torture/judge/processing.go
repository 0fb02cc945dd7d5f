package judge

import (
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// process is a topic that is made of another one by a group.
type process struct {
	output, input *topic
	group         *group
	made          paged[int64] // where, plus 1, by the value of the input: partition << 44 | offset
	total         int64        // of the inputs that were processed
}

// checkProcessing holds of each output topic that every input below the group's committed offset is in it once, none
// beyond, and those of one key in their order.
func (b *book) checkProcessing() {
	for _, t := range b.allTopics {
		if t.declared.Source == "" {
			continue
		}
		w := &process{output: t, input: b.topic(t.declared.Source), group: b.groupOf(t.declared.Group)}
		for _, p := range t.partitions {
			b.checkOutput(w, p)
		}
		b.checkInputs(w)
	}
}

// checkOutput walks over the outputs of one partition.
func (b *book) checkOutput(w *process, p *partition) {
	last := map[[2]int64]int64{} // offset of the input, by its partition and key
	for i, v := range p.retained() {
		offset := p.start + int64(i)
		o := b.writer(v)
		if o == nil {
			continue
		}
		source := b.sources.load(v)
		input, at := b.home(source)
		if input == nil && w.input.trimmed && b.wrote(source, w.input) {
			continue // and nobody was told where
		}
		if input == nil || input.topic != w.input {
			b.add(Phantom, []int32{o.line, p.line(offset)},
				"%s/%d: the output at offset %d was made of value %d, which is not in %s",
				p.topic.name, p.number, offset, source, w.input.name)
			continue
		}
		made := w.made.slot(source)
		if *made != 0 {
			first := b.parts[*made>>44]
			firstAt := *made&(1<<44-1) - 1
			other := b.writer(first.at(firstAt))
			b.add(ProcessedTwice, []int32{other.line, other.ackLine, o.line, o.ackLine},
				"value %d of %s was processed twice: into %s/%d, offset %d, and offset %d of partition %d",
				source, w.input.name, first.topic.name, first.number, firstAt, offset, p.number)
		} else {
			*made = int64(p.id)<<44 | (offset + 1)
		}
		w.total += source
		key := [2]int64{int64(input.number), -1}
		if keys := w.input.declared.Keys; keys > 0 {
			key[1] = source % keys
		}
		if before, known := last[key]; known && at < before {
			b.add(KeyOrder, []int32{o.line, p.line(offset)},
				"%s/%d: the output at offset %d is of the input at offset %d of %s/%d; before it stands that "+
					"of offset %d, of the same key",
				p.topic.name, p.number, offset, at, input.topic.name, input.number, before)
		}
		last[key] = at
	}
}

// wrote reports whether some operation writes a value to a topic.
func (b *book) wrote(v int64, t *topic) bool {
	o := b.writer(v)
	return o != nil && slices.ContainsFunc(o.pieces, func(q piece) bool {
		return q.topic == t && v >= q.first && v < q.first+q.count
	})
}

// checkInputs walks over the inputs: they are processed up to the committed offset, and not beyond. But what workers
// knew of is all processed in the end: they go on until it is.
func (b *book) checkInputs(w *process) {
	total := int64(0)
	for _, p := range w.input.partitions {
		committed, line := w.group.share(p).committed()
		b.checkLeft(w, p, committed, line)
		for i, v := range p.retained() {
			offset := p.start + int64(i)
			made := w.made.load(v)
			switch {
			case offset < committed && made == 0 && !w.output.trimmed:
				b.add(NeverProcessed, []int32{p.line(offset), line},
					"%s/%d: the committed offset of group %s is %d; value %d at offset %d was not processed",
					p.topic.name, p.number, w.group.name, committed, v, offset)
			case offset >= committed && made != 0:
				output := b.parts[made>>44]
				o := b.writer(output.at(made&(1<<44-1) - 1))
				b.add(OutputApart, []int32{o.line, o.ackLine, line},
					"%s/%d: the committed offset of group %s is %d; value %d at offset %d was processed, by "+
						"operation %d",
					p.topic.name, p.number, w.group.name, committed, v, offset, o.id)
			}
			if offset < committed {
				total += v
			}
		}
	}
	if total != w.total && !w.input.trimmed && !w.output.trimmed {
		b.add(Sum, nil,
			"the inputs of %s below the committed offsets of group %s sum up to %d; what %s was made of, to %d",
			w.input.name, w.group.name, total, w.output.name, w.total)
	}
}

// margin is how long, in nanoseconds, what a client was told may be on its way to the workers of its process.
const margin = 1e9

// checkLeft holds that workers left nothing of an input that was acknowledged while they still polled.
func (b *book) checkLeft(w *process, p *partition, committed int64, line int32) {
	known := p.end()
	for ; known > max(committed, p.start); known-- {
		if d := b.deedOf(p.at(known - 1)); d.op != nil && d.told().at < w.group.polled-margin {
			break
		}
	}
	for offset := max(committed, p.start); offset < known; offset++ {
		v := p.at(offset)
		if w.made.load(v) != 0 || w.output.trimmed {
			continue
		}
		lines := []int32{p.line(offset), line}
		if o := b.writer(v); o != nil {
			lines = append(lines, o.line, o.ackLine)
		}
		b.add(NeverProcessed, lines,
			"%s/%d: the committed offset of group %s is %d in the end; value %d at offset %d was left, and workers "+
				"still polled at %d",
			p.topic.name, p.number, w.group.name, committed, v, offset, w.group.polled)
	}
}

// committed returns the committed offset in the end, 0 if there is none.
func (s *share) committed() (offset int64, line int32) {
	for _, source := range []history.Source{history.HTTP, history.SQL} {
		if r, ok := s.final[source]; ok {
			return max(0, r.offset), r.line
		}
	}
	return 0, 0
}
