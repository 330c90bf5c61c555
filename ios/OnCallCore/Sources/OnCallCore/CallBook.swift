import Foundation

/// Why a call is reported as ended: CallKit's `CXCallEndedReason`.
public enum EndReason: Equatable, Sendable { case failed, remoteEnded, unanswered, answeredElsewhere }

public enum ReceiptKind: String, Codable, Sendable { case received, answered, declined, failed }

/// The calls of this phone: what is done with each push, act of the person, word of the bridge, and moment. It does
/// nothing itself: each verb takes the time and gives commands, which the app carries out in their order.
public struct CallBook: Sendable {
    /// `CXErrorCodeIncomingCallError.callUUIDAlreadyExists`.
    public static let alreadyExists = 2

    public enum Command: Equatable, Sendable {
        /// Report to CallKit at once, and give `reported` the ticket and CallKit's answer.
        case report(ticket: Int, uuid: UUID, name: String)
        case end(UUID, EndReason)
        case post(Record, ReceiptKind, errorCode: Int?)
        /// Read this aloud, then give `spoke` the UUID.
        case speak(UUID, String)
        /// Ask the bridge what this call is about: the push could not be opened.
        case ask(callID: String)
    }

    /// A bridge's record of a call. Two where bridges that share nothing rang with the same UUID.
    public struct Record: Codable, Equatable, Sendable {
        public var callID: String
        public var target: ReceiptTarget
        public var expiresAt: Date
    }

    public enum State: Equatable, Sendable {
        case reporting, ringing, answered, declined
        case failed(code: Int)
        case ended(EndReason)
    }

    public struct Call: Equatable, Sendable {
        public var uuid: UUID
        public var name: String
        public var speech: String
        public var expiresAt: Date
        public var state: State
        var records: [String: Record?]
        var unopened: Bool
        var spoken = false

        var rings: Bool { state == .reporting || state == .ringing }

        /// Whether CallKit holds it, so that its UUID cannot be shown again.
        func live(_ now: Date) -> Bool { state == .answered || (rings && now < expiresAt) }
    }

    private enum Pending: Sendable {
        case ring(UUID)
        case again(UUID, callID: String, Record?)
        case doomed(UUID, EndReason)
    }

    public private(set) var calls: [UUID: Call] = [:]
    private var pending: [Int: Pending] = [:]
    private var over: [String: EndReason] = [:]
    private var tickets = 0

    public init() {}

    /// Whether the event stream is needed: a call is up.
    public var listens: Bool { calls.values.contains { $0.rings || $0.state == .answered } }

    /// When `tick` has something to do.
    public var nextDeadline: Date? { calls.values.filter(\.rings).map(\.expiresAt).min() }

    // MARK: pushes

    /// A VoIP push came. Gives exactly one `report`, whatever it holds. `spare` is the UUID for one that has none.
    /// Where iOS says that it need not be reported, one that would end at once is left alone, and all else is.
    public mutating func arrived(_ reading: Reading, now: Date, spare: UUID, mustReport: Bool = true) -> [Command] {
        switch reading {
        case .malformed(_, let uuid, let name):
            return mustReport ? [doom(uuid ?? spare, name ?? Page.unknownName, .failed)] : []
        case .push(let push):
            if let reason = now >= push.expiresAt ? .unanswered : over[push.callID] {
                return mustReport ? [doom(push.uuid, push.page.name, reason)] : []
            }
            if calls[push.uuid]?.live(now) == true { return [again(push)] }
            return [ring(push)]
        }
    }

    /// CallKit answered a report: `errorCode` is that of `CXErrorCodeIncomingCallError`, nil where it shows the call.
    public mutating func reported(ticket: Int, errorCode: Int?, now: Date) -> [Command] {
        switch pending.removeValue(forKey: ticket) {
        case nil: return []
        case .doomed(let uuid, let reason): return errorCode == nil ? [.end(uuid, reason)] : []
        case .ring(let uuid): return shown(uuid, errorCode, now)
        case .again(let uuid, let callID, let record): return joined(uuid, callID, record, errorCode, now)
        }
    }

    // MARK: the person

    /// The person answered. Late, too: an answer after the deadline still acknowledges.
    public mutating func answer(_ uuid: UUID) -> [Command] {
        guard let call = calls[uuid], call.rings else { return [] }
        calls[uuid]?.state = .answered
        return posts(call, .answered)
    }

    /// The person ended it: before answering that declines, afterwards it says nothing.
    public mutating func hangUp(_ uuid: UUID) -> [Command] {
        guard let call = calls[uuid] else { return [] }
        if call.rings {
            calls[uuid]?.state = .declined
            return posts(call, .declined)
        }
        if call.state == .answered { calls[uuid]?.state = .ended(.remoteEnded) }
        return []
    }

    /// CallKit gave the audio session: what was answered is read aloud, once.
    public mutating func audioActivated() -> [Command] {
        let silent = calls.values.filter { $0.state == .answered && !$0.spoken }
        for call in silent { calls[call.uuid]?.spoken = true }
        return silent.map { .speak($0.uuid, $0.speech) }
    }

    /// All is said: the call ends.
    public mutating func spoke(_ uuid: UUID) -> [Command] {
        guard calls[uuid]?.state == .answered else { return [] }
        return finish(uuid, .remoteEnded)
    }

    /// The bridge said what an unopened call is about.
    public mutating func learned(callID: String, _ speech: String) {
        for (uuid, call) in calls where call.unopened && call.records[callID] != nil {
            calls[uuid]?.speech = speech
        }
    }

    /// CallKit's provider was reset: no call is left.
    public mutating func reset() {
        for uuid in calls.keys where calls[uuid]?.rings == true || calls[uuid]?.state == .answered {
            calls[uuid]?.state = .ended(.failed)
        }
        pending = [:]
    }

    // MARK: the bridge and the clock

    /// The stream said that nobody needs to answer `callID` any more. The ring ends once no bridge wants it.
    public mutating func ended(callID: String, reason: String) -> [Command] {
        over[callID] = reason == "acknowledged" ? .answeredElsewhere : .remoteEnded
        let ringing = calls.values.filter { $0.state == .ringing }
        return ringing.flatMap { endIfOver($0) }
    }

    /// Time has gone by: what nobody answered until its deadline ends.
    public mutating func tick(now: Date) -> [Command] {
        let late = calls.values.filter { $0.state == .ringing && now >= $0.expiresAt }
        return late.flatMap { finish($0.uuid, .unanswered) }
    }

    // MARK: parts

    private mutating func ticket(_ what: Pending, _ uuid: UUID, _ name: String) -> Command {
        tickets += 1
        pending[tickets] = what
        return .report(ticket: tickets, uuid: uuid, name: name)
    }

    private mutating func doom(_ uuid: UUID, _ name: String, _ reason: EndReason) -> Command {
        ticket(.doomed(uuid, reason), uuid, name)
    }

    private mutating func again(_ push: Push) -> Command {
        ticket(.again(push.uuid, callID: push.callID, Record(push)), push.uuid, push.page.name)
    }

    private mutating func ring(_ push: Push) -> Command {
        calls[push.uuid] = Call(
            uuid: push.uuid, name: push.page.name, speech: Speech.of(push), expiresAt: push.expiresAt,
            state: .reporting, records: [push.callID: Record(push)], unopened: push.sealed != nil
        )
        return ticket(.ring(push.uuid), push.uuid, push.page.name)
    }

    private mutating func shown(_ uuid: UUID, _ errorCode: Int?, _ now: Date) -> [Command] {
        guard let call = calls[uuid] else { return [] }
        if let errorCode {
            calls[uuid]?.state = .failed(code: errorCode)
            return posts(call, .failed, errorCode)
        }
        if call.state == .reporting { calls[uuid]?.state = .ringing }
        let asked = call.unopened ? call.records.keys.sorted().map { Command.ask(callID: $0) } : []
        let over = calls[uuid]?.rings == true ? endIfOver(call) : []
        return posts(call, .received) + asked + over + tick(now: now)
    }

    private mutating func joined(
        _ uuid: UUID, _ callID: String, _ record: Record?, _ errorCode: Int?, _ now: Date
    ) -> [Command] {
        guard let call = calls[uuid] else { return [] }
        guard errorCode == CallBook.alreadyExists || errorCode == nil else {
            return post(record, .failed, errorCode)
        }
        if call.records[callID] != nil {
            return errorCode == nil ? shown(uuid, nil, now) : post(record, .failed, CallBook.alreadyExists)
        }
        calls[uuid]?.records[callID] = .some(record)
        return post(record, .received) + soFar(call.state).flatMap { post(record, $0) }
    }

    private func soFar(_ state: State) -> [ReceiptKind] {
        switch state {
        case .answered: [.answered]
        case .declined: [.declined]
        default: []
        }
    }

    private mutating func endIfOver(_ call: Call) -> [Command] {
        guard !call.records.isEmpty, call.records.keys.allSatisfy({ over[$0] != nil }) else { return [] }
        let reasons = call.records.keys.compactMap { over[$0] }
        return finish(call.uuid, reasons.contains(.answeredElsewhere) ? .answeredElsewhere : .remoteEnded)
    }

    private mutating func finish(_ uuid: UUID, _ reason: EndReason) -> [Command] {
        calls[uuid]?.state = .ended(reason)
        return [.end(uuid, reason)]
    }

    private func posts(_ call: Call, _ kind: ReceiptKind, _ errorCode: Int? = nil) -> [Command] {
        call.records.sorted { $0.key < $1.key }.flatMap { post($0.value, kind, errorCode) }
    }

    private func post(_ record: Record?, _ kind: ReceiptKind, _ errorCode: Int? = nil) -> [Command] {
        record.map { [.post($0, kind, errorCode: errorCode)] } ?? []
    }
}

extension CallBook.Record {
    /// The record that a push brings; nil where the bridge waits for no receipt.
    public init?(_ push: Push) {
        guard let target = push.receipt else { return nil }
        self.init(callID: push.callID, target: target, expiresAt: push.expiresAt)
    }
}
