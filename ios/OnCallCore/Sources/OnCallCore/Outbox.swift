import Foundation

/// A place that keeps bytes across launches. The app keeps them in the keychain or in a file that is readable
/// after the first unlock.
public protocol Storage: Sendable {
    /// nil where nothing was kept. Throws where it cannot be read now: the phone was not unlocked since it restarted.
    func load(_ name: String) throws -> Data?
    func save(_ name: String, _ data: Data?) throws
}

/// One receipt on its way. Its `eventID` stays the same for every repetition.
public struct Receipt: Codable, Equatable, Sendable {
    public var eventID: UUID
    public var kind: ReceiptKind
    public var errorCode: Int?
    public var at: Date
    public var record: CallBook.Record
    public var attempts = 0
    public var notBefore: Date

    public init(_ record: CallBook.Record, _ kind: ReceiptKind, errorCode: Int? = nil, at: Date, eventID: UUID) {
        self.record = record
        self.kind = kind
        self.errorCode = errorCode
        self.at = at
        self.eventID = eventID
        notBefore = at
    }

    /// What is posted.
    public var body: JSON {
        var fields: [String: JSON] = [
            "event_id": .string(eventID.uuidString.lowercased()), "receipt": .string(kind.rawValue),
            "at": .string(Time.write(at)),
        ]
        if let errorCode { fields["error_code"] = .number(Double(errorCode)) }
        return .object(fields)
    }

    /// Until when it is tried. What the person did is worth telling late: it still acknowledges.
    var giveUpAt: Date {
        let patience: TimeInterval = kind == .answered || kind == .declined ? 24 * 3600 : 300
        return record.expiresAt.addingTimeInterval(patience)
    }
}

/// What became of one attempt.
public enum Attempt: Equatable, Sendable {
    case answered(status: Int, retryAfter: TimeInterval?)
    case lost
}

/// The receipts that the bridge does not have yet, in the order in which they arose. Those of one call go one after
/// the other; a bridge that is down holds up no other.
public struct Outbox: Codable, Equatable, Sendable {
    /// Pauses between attempts, in seconds; the last one again and again.
    public static let pauses: [TimeInterval] = [0.5, 1, 2, 4, 8, 10]

    public private(set) var waiting: [Receipt] = []

    public init() {}

    public var isEmpty: Bool { waiting.isEmpty }

    public mutating func add(_ receipt: Receipt) { waiting.append(receipt) }

    /// Take up what was kept earlier: it comes before what waits.
    mutating func takeUp(_ earlier: Outbox, now: Date) {
        var earlier = earlier
        earlier.relaunched(now: now)
        waiting = earlier.waiting + waiting
    }

    /// The first of each call, where its time has come.
    public func due(_ now: Date) -> [Receipt] { heads.filter { $0.notBefore <= now } }

    /// When `due` has something next; nil: nothing waits.
    public var nextAttempt: Date? { heads.map(\.notBefore).min() }

    /// Enter what became of an attempt. Any answer but 429 and 5xx stands.
    public mutating func settle(_ eventID: UUID, _ attempt: Attempt, now: Date) {
        guard let index = waiting.firstIndex(where: { $0.eventID == eventID }) else { return }
        var pause = Outbox.pauses[min(waiting[index].attempts, Outbox.pauses.count - 1)]
        if case .answered(let status, let retryAfter) = attempt {
            guard status == 429 || status >= 500 else {
                waiting.remove(at: index)
                return
            }
            pause = max(pause, retryAfter ?? 0)
        }
        waiting[index].attempts += 1
        waiting[index].notBefore = now.addingTimeInterval(pause)
        if now >= waiting[index].giveUpAt { waiting.remove(at: index) }
    }

    /// The app has started anew: what waits is tried at once, what is too old to tell goes.
    public mutating func relaunched(now: Date) {
        waiting.removeAll { now >= $0.giveUpAt }
        for index in waiting.indices { waiting[index].notBefore = min(waiting[index].notBefore, now) }
    }

    private var heads: [Receipt] {
        var seen = Set<ReceiptTarget>()
        return waiting.filter { seen.insert($0.record.target).inserted }
    }
}

/// Posts the outbox, and keeps it across launches. What arises before the first unlock after a restart is kept in
/// memory until then, and what was kept before the restart is taken up as soon as it can be read.
public actor Courier {
    private static let name = "outbox"

    private var outbox = Outbox()
    private var recalled = false
    private let storage: Storage
    private let poster: @Sendable (Receipt) async -> Attempt
    private let clock: @Sendable () -> Date
    private var posting = Set<UUID>()

    /// `poster` makes one attempt; it never throws.
    public init(
        storage: Storage, clock: @escaping @Sendable () -> Date = { Date() },
        poster: @escaping @Sendable (Receipt) async -> Attempt
    ) {
        self.storage = storage
        self.clock = clock
        self.poster = poster
    }

    public var waiting: [Receipt] {
        recall()
        return outbox.waiting
    }

    public var nextAttempt: Date? {
        recall()
        return outbox.nextAttempt
    }

    /// Keep a receipt on disk, so that it outlives the app. Nothing is posted before `flush`.
    public func add(_ receipt: Receipt) {
        outbox.add(receipt)
        keep()
    }

    /// Post what is due, and what becomes due by it; returns when nothing is due any more.
    public func flush() async {
        recall()
        while let receipt = outbox.due(clock()).first(where: { !posting.contains($0.eventID) }) {
            posting.insert(receipt.eventID)
            let attempt = await poster(receipt)
            posting.remove(receipt.eventID)
            outbox.settle(receipt.eventID, attempt, now: clock())
            keep()
        }
    }

    /// Post until nothing waits: `flush`, wait for the next attempt, and again.
    public func run() async {
        while !Task.isCancelled {
            await flush()
            guard let next = outbox.nextAttempt else { return }
            let pause = max(0.05, next.timeIntervalSince(clock()))
            try? await Task.sleep(nanoseconds: UInt64(pause * 1_000_000_000))
        }
    }

    /// The phone has signed off: what went by its credential cannot be told any more.
    public func forgetCredential() {
        for receipt in outbox.waiting {
            if case .credential = receipt.record.target {
                outbox.settle(receipt.eventID, .answered(status: 401, retryAfter: nil), now: clock())
            }
        }
        keep()
    }

    /// Read what the launch before kept, once: until that is possible nothing is written over it.
    private func recall() {
        guard !recalled, case .success(let kept) = Result(catching: { try storage.load(Courier.name) }) else { return }
        recalled = true
        if let earlier = kept.flatMap({ try? JSONDecoder().decode(Outbox.self, from: $0) }) {
            outbox.takeUp(earlier, now: clock())
        }
    }

    private func keep() {
        recall()
        guard recalled else { return }
        try? storage.save(Courier.name, outbox.isEmpty ? nil : try? JSONEncoder().encode(outbox))
    }
}
