// Package judge says what is wrong with a history (internal/torture/history): it names each anomaly and shows the
// lines that prove it. It does not know how a history is made, nor the service's code: what must hold is written here
// once more, after docs/rules.md.
//
// A history is read once (load.go). What is kept of it, in a book, are operations (all attempts with one identity),
// who writes which value, what readers saw, and what groups committed; then the final logs are laid out, and each check
// walks over what it needs. An operation that is unknown may have taken effect at any time after it was first sent, or
// never; times are compared only as "returned before the other was invoked".
//
// While it is read, what is wrong in one answer, or in those of one reader, is found at once: readers.go, produce.go,
// causes.go. Then, in this order:
//
//	what                  rules          holds                                                             in
//	layOut                P2 F2          logs without a gap, the same by HTTP and SQL                      log.go
//	settleTransactions                   counts fates                                                      txn.go
//	settleFences          P9             when each epoch was known to be replaced                          producers.go
//	checkLogs             P1 P3 P11      each record has a writer, is there once, in its partition         log.go
//	layWhatLeft           R1 F2          what is known of records that have left their logs                left.go
//	settleWhatLeft                       which records may have left                                       left.go
//	checkStarts           R1             starts of logs only rise, and nothing leaves too early            retention.go
//	checkRequests         P1 P12 P13     what was acknowledged is there, where that said; refused is not   requests.go
//	settleShown           P1 T1 G3       when each deed was first seen                                     shown.go
//	walk                  P2 P5 T1       deeds in one piece, in the order of sequences and of real time    walk.go
//	checkTransactions     T1 to T6       one fate that somebody asked for, and the records that it says    fates.go
//	checkSequences        P4 P5 P8       all sequences of a producer, each once; next_sequences            sequences.go
//	checkKeys             P4 P10         one content for each key                                          sequences.go
//	checkReads            F1 F2 T1       what was read is what the logs have, and was committed            readers.go
//	checkVisible          F1 F3 F6 R1    who reads after an acknowledgement finds it                       visible.go
//	checkFences           P9             nothing of an older epoch is accepted                             producers.go
//	checkRefusals         P3 P6 P7 T3    what was refused could be                                         refusals.go
//	checkReceipts         P3 P8          receipts tell what is stored                                      receipts.go
//	checkGroups           G1 G4          owners, epochs and committed offsets (offsets.go, empties.go)     members.go
//	checkProcessing       G3 G5          each input is in the output once, in order                        processing.go
package judge
