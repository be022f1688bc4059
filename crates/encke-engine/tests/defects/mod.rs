//! An engine that does what the memory engine does, but for one defect.

mod bed;
mod engine;
mod feed;

pub use bed::BrokenBed;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Every fifth append is answered but not done.
    DropsAppends,
    /// Of several targets only the first gets the message, though all are answered.
    AppendsInPart,
    /// Every fifth message is appended twice.
    DoublesAppends,
    /// The answer names the offset before.
    AnswersWrongOffset,
    /// The answer names the targets in another order.
    ReordersPositions,
    /// A push to all is answered without being done.
    ForgetsAllUsers,
    /// No key is looked at.
    IgnoresKeys,
    /// The scope in front of a key is cut off.
    SharesKeysAcrossScopes,
    /// A key is not asked whether it comes with another request.
    TakesEveryRequestForTheFirst,
    /// Keys have room for a few thousand, of all publishers together; more are refused.
    RefusesManyKeys,
    /// A repeat is answered with the repeat's own id.
    RepeatsNewId,
    /// A repeat does not say that it is one.
    HidesRepeats,
    /// Keys are for ever, as the sweep is told another time.
    NeverSweeps,
    /// What the clock jumps over has gone by.
    AgesWithTheClock,
    /// The sweep is told a time an hour ahead.
    SweepsTooMuch,
    /// The sender is lost.
    LosesSender,
    /// The expiry is lost.
    LosesExpiry,
    /// Times are kept in seconds.
    RoundsTime,
    /// A page lacks its last message.
    ReadsOneLess,
    /// A page lacks a message in the middle.
    ReadsWithHole,
    /// A page has a message twice.
    ReadsTwice,
    /// The messages of a page come in falling order.
    ReadsReversed,
    /// Reading forwards includes the position itself.
    ReadsInclusive,
    /// Reading forwards from before the tail returns nothing.
    ReadsNothingBehindTail,
    /// A page has more messages than were asked for.
    IgnoresMessageLimit,
    /// A page has more bytes than were asked for.
    IgnoresByteLimit,
    /// A page is empty if its first message is larger than the limit.
    ReadsNothingOverLimit,
    /// The tail is always 1.
    TellsWrongTail,
    /// The head is one too high.
    TellsWrongHead,
    /// Twice as much is kept as the rules say.
    KeepsTooMuch,
    /// Half as much is kept as the rules say.
    KeepsTooLittle,
    /// The rules for single channels are not looked at.
    IgnoresRules,
    /// Marks are not done.
    IgnoresMarks,
    /// Delivered is taken for shown.
    MarksTooFar,
    /// Every mark reaches up to the head.
    MarksEverything,
    /// The epoch of a mark is not looked at.
    IgnoresMarkEpoch,
    /// Nothing ever expires for who asks for receipts.
    NeverExpires,
    /// What was trimmed from one log is expired only when all logs that had it are trimmed.
    ExpiresWithTheLastLog,
    /// A push that is not known has no receipts instead of being unknown.
    KnowsEveryPush,
    /// Receipts come in the wrong order.
    ReceiptsUnsorted,
    /// Totals are of the first page of receipts.
    TotalsOfOnePage,
    /// Receipts of one state are looked for in one page.
    StatesOfOnePage,
    /// A page of receipts begins at the beginning.
    ReceiptsIgnoreAfter,
    /// Every session begins before the first push.
    ForgetsHanded,
    /// Who was handed nothing begins at the head.
    HandedAtHead,
    /// A user who is asked for becomes known.
    KnowsWhomItIsAskedFor,
    /// `last_seen` is what was said last.
    SeenGoesBack,
    /// Being seen makes no user known.
    IgnoresSeen,
    /// A page of users begins at the beginning.
    UsersIgnoreAfter,
    /// Users come in the wrong order.
    UsersUnsorted,
    /// Every user matches a search.
    FindsAllUsers,
    /// Of the channels that match, the first is not found.
    FindsOneChannelLess,
    /// A page of channels has one too few.
    ChannelsOneLess,
    /// A trimmed channel is not listed any more.
    ForgetsTrimmedChannels,
    /// After a channel was trimmed, its offsets begin again.
    GivesOffsetsTwice,
    /// A deletion is answered but not done.
    DeletesNothing,
    /// A deletion is done, and says that there was nothing.
    DeniesDeletions,
    /// Of a deleted user the log alone is gone.
    DeletesLogsAlone,
    /// A log is never closed.
    NeverCloses,
    /// A page does not say that its log is closed.
    HidesClosed,
    /// No producer is looked at.
    IgnoresProducers,
    /// Producers of all logs are the same.
    SharesProducers,
    /// A repeated change does not say where its message is.
    ForgetsPlaces,
    /// No log ends by itself.
    IgnoresLifetimes,
    /// A use of a log does not make it last longer.
    IgnoresUses,
    /// A question makes a log last longer.
    TouchesByQuestions,
    /// A log that is there is set to what it is created with.
    CreatesAnew,
    /// The content type of bytes is another.
    LosesContentType,
    /// Bytes that are no text are not kept.
    KeepsTextAlone,
    /// A cancellation is answered but not done.
    CancelsNothing,
    /// Of a cancelled push the receipts alone are.
    CancelsReceiptsAlone,
    /// A cancellation is done, and counts one too many.
    CountsOneMoreCancelled,
    /// What is cancelled is taken out of the page.
    LeavesOutWhatIsCancelled,
    /// The feed is not told of deletions and cancellations.
    FeedMissesRetractions,
    /// The feed misses some messages.
    FeedDrops,
    /// The feed gets some messages twice.
    FeedDoubles,
    /// The feed gets messages out of order.
    FeedReorders,
    /// The feed is told of the first target of an append only.
    FeedTellsFirstTarget,
    /// The feed is told of another sender than the log.
    FeedTellsOther,
    /// A stopped engine goes on.
    NeverStops,
    /// An engine without its log has the epoch of the one that had it.
    KeepsEpochWithoutLog,
    /// It says that it is ready when it is not.
    AlwaysReady,
}

impl Defect {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::DropsAppends,
        Self::AppendsInPart,
        Self::DoublesAppends,
        Self::AnswersWrongOffset,
        Self::ReordersPositions,
        Self::ForgetsAllUsers,
        Self::IgnoresKeys,
        Self::SharesKeysAcrossScopes,
        Self::TakesEveryRequestForTheFirst,
        Self::RefusesManyKeys,
        Self::RepeatsNewId,
        Self::HidesRepeats,
        Self::NeverSweeps,
        Self::AgesWithTheClock,
        Self::SweepsTooMuch,
        Self::LosesSender,
        Self::LosesExpiry,
        Self::RoundsTime,
        Self::ReadsOneLess,
        Self::ReadsWithHole,
        Self::ReadsTwice,
        Self::ReadsReversed,
        Self::ReadsInclusive,
        Self::ReadsNothingBehindTail,
        Self::IgnoresMessageLimit,
        Self::IgnoresByteLimit,
        Self::ReadsNothingOverLimit,
        Self::TellsWrongTail,
        Self::TellsWrongHead,
        Self::KeepsTooMuch,
        Self::KeepsTooLittle,
        Self::IgnoresRules,
        Self::IgnoresMarks,
        Self::MarksTooFar,
        Self::MarksEverything,
        Self::IgnoresMarkEpoch,
        Self::NeverExpires,
        Self::ExpiresWithTheLastLog,
        Self::KnowsEveryPush,
        Self::ReceiptsUnsorted,
        Self::TotalsOfOnePage,
        Self::StatesOfOnePage,
        Self::ReceiptsIgnoreAfter,
        Self::ForgetsHanded,
        Self::HandedAtHead,
        Self::KnowsWhomItIsAskedFor,
        Self::SeenGoesBack,
        Self::IgnoresSeen,
        Self::UsersIgnoreAfter,
        Self::UsersUnsorted,
        Self::FindsAllUsers,
        Self::FindsOneChannelLess,
        Self::ChannelsOneLess,
        Self::ForgetsTrimmedChannels,
        Self::GivesOffsetsTwice,
        Self::DeletesNothing,
        Self::DeniesDeletions,
        Self::DeletesLogsAlone,
        Self::NeverCloses,
        Self::HidesClosed,
        Self::IgnoresProducers,
        Self::SharesProducers,
        Self::ForgetsPlaces,
        Self::IgnoresLifetimes,
        Self::IgnoresUses,
        Self::TouchesByQuestions,
        Self::CreatesAnew,
        Self::LosesContentType,
        Self::KeepsTextAlone,
        Self::CancelsNothing,
        Self::CancelsReceiptsAlone,
        Self::CountsOneMoreCancelled,
        Self::LeavesOutWhatIsCancelled,
        Self::FeedMissesRetractions,
        Self::FeedDrops,
        Self::FeedDoubles,
        Self::FeedReorders,
        Self::FeedTellsFirstTarget,
        Self::FeedTellsOther,
        Self::NeverStops,
        Self::KeepsEpochWithoutLog,
        Self::AlwaysReady,
    ];
}
