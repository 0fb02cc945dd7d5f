package sim

import "github.com/eos-proxy/eos-proxy/internal/eos"

// Mutant is a mistake that is planted in the protocol or the rules, to see that
// the judge finds it.
type Mutant string

// The mutants. NoMutant is the service as it is.
const (
	NoMutant              Mutant = ""
	AckBeforeCommit       Mutant = "acknowledged before the commit"
	LostCommitIsFailure   Mutant = "a lost commit is answered as a failure"
	NoDoubt               Mutant = "a refusal after a lost commit is told as one without effect"
	RefusedByMemory       Mutant = "refused by what is remembered"
	FactsOutliveFailure   Mutant = "what is known is kept when a flush fails"
	NoEndGuard            Mutant = "the end of the log is not guarded"
	NoUniqueIdentity      Mutant = "identities are not unique"
	NoSequenceGuard       Mutant = "removed sequences are not guarded"
	NoLateGuard           Mutant = "no bound on how late a flush is written"
	NoPartitionCountGuard Mutant = "the partition count is not guarded"
	NoProducerGuard       Mutant = "epoch and open transaction are not guarded"
	NoEpochCheck          Mutant = "epochs are not compared"
	EpochBeforeRepeat     Mutant = "epochs are compared before repeats are told"
	SequenceGapAccepted   Mutant = "a sequence above the next one is accepted"
	ContentNotCompared    Mutant = "repeats are told by sequence alone"
	FenceInTwoSteps       Mutant = "the fenced transaction is aborted in a second SQL transaction"
	RegistrationKeyLost   Mutant = "the key of a registration is not looked up"
	SequencesStayUsed     Mutant = "sequences of aborted transactions stay used"
	NoTransactionGuard    Mutant = "that a transaction is ongoing is not guarded"
	NoCommitGuard         Mutant = "what a commit moves is not guarded"
	CommitAfterAbort      Mutant = "an aborted transaction can be committed"
	OutsideAllowed        Mutant = "a producer appends outside its open transaction"
	TimeoutByProxyClock   Mutant = "transactions time out by the proxy's clock"
	OffsetsApart          Mutant = "offsets are committed in a second SQL transaction"
	FromIgnored           Mutant = "from is ignored"
	OffsetGoesBack        Mutant = "a member's commit may rewind"
	MemberCheckedAtStage  Mutant = "the member is checked when it stages, not at the commit"
	OldMemberEpoch        Mutant = "an old member epoch is accepted"
	HandedOverAtOnce      Mutant = "a partition is handed over before its owner let go"
	ExpiredByProxyClock   Mutant = "members expire by the proxy's clock"
	ReplacedStillHeard    Mutant = "a member that was replaced is still heard"
	TakeoverLosesAll      Mutant = "who takes over an instance_id begins without partitions"
	NoMemberLock          Mutant = "the member's row is not locked by its commit"
)

// Mutants are all that there are.
var Mutants = []Mutant{
	AckBeforeCommit, LostCommitIsFailure, NoDoubt, RefusedByMemory, FactsOutliveFailure, NoEndGuard, NoUniqueIdentity,
	NoSequenceGuard, NoLateGuard,
	NoPartitionCountGuard, NoProducerGuard, NoEpochCheck, EpochBeforeRepeat, SequenceGapAccepted, ContentNotCompared,
	FenceInTwoSteps, RegistrationKeyLost, SequencesStayUsed, NoTransactionGuard, NoCommitGuard, CommitAfterAbort,
	OutsideAllowed, TimeoutByProxyClock, OffsetsApart, FromIgnored, OffsetGoesBack, MemberCheckedAtStage, OldMemberEpoch,
	HandedOverAtOnce, ExpiredByProxyClock, ReplacedStillHeard, TakeoverLosesAll, NoMemberLock,
}

// decideAppend is that of the rules, or of a mutant.
func (w *world) decideAppend(a eos.Append, f eos.Facts) (eos.Verdict, error) {
	stored := f.Stored
	switch w.mutant {
	case NoEpochCheck:
		if a.HasProducer() {
			a.Epoch = f.Producer.Epoch
		}
	case EpochBeforeRepeat:
		if a.HasProducer() && f.Producer.Known {
			if err := eos.CheckFence(f.Producer, a.Epoch); err != nil {
				return eos.Apply, err
			}
		}
	case SequenceGapAccepted:
		f.Next = max(f.Next, a.Sequence)
	case ContentNotCompared:
		if stored != nil {
			f.Stored = &eos.Stored{RecordCount: stored.RecordCount, Fingerprint: a.Fingerprint}
		}
	case OutsideAllowed:
		f.Producer.OpenTransaction = ""
	}
	return a.Decide(f)
}
