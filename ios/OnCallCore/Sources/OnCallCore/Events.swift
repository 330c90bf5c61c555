import Foundation

/// One event of the bridge's stream. `id` is "" for one that is not to be resumed from.
public struct ServerEvent: Equatable, Sendable {
    public var name: String
    public var data: String
    public var id: String
}

/// Reads `text/event-stream` (WHATWG HTML, section 9.2.6), however the bytes are cut.
public struct EventParser: Sendable {
    /// What is sent as `Last-Event-ID` after a break.
    public private(set) var lastEventID: String
    /// The pause before the stream is opened anew, in seconds.
    public private(set) var retry: TimeInterval = 1

    private var rest = Data()
    private var skipsLF = false
    private var name = ""
    private var data: [String] = []
    private var id: String?

    public init(lastEventID: String = "") { self.lastEventID = lastEventID }

    /// Take bytes; gives the events that are whole with them.
    public mutating func feed(_ bytes: Data) -> [ServerEvent] {
        var events: [ServerEvent] = []
        for byte in bytes {
            defer { skipsLF = byte == 0x0D }
            if byte == 0x0A, skipsLF { continue }
            guard byte == 0x0A || byte == 0x0D else {
                rest.append(byte)
                continue
            }
            if let event = line(String(decoding: rest, as: UTF8.self)) { events.append(event) }
            rest.removeAll(keepingCapacity: true)
        }
        return events
    }

    /// The connection has ended: what was cut off is forgotten.
    public mutating func broke() {
        rest = Data()
        skipsLF = false
        (name, data, id) = ("", [], nil)
    }

    private mutating func line(_ line: String) -> ServerEvent? {
        if line.isEmpty { return dispatch() }
        let parts = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        let field = parts[0]
        var value = parts.count > 1 ? parts[1] : ""
        if value.hasPrefix(" ") { value = value.dropFirst() }
        switch field {
        case "event": name = String(value)
        case "data": data.append(String(value))
        case "id" where !value.contains("\0"): id = String(value)
        case "retry": if let ms = Int(value), ms >= 0 { retry = min(Double(ms) / 1000, 60) }
        default: break  // a comment is a sign of life; what is unknown is ignored
        }
        return nil
    }

    private mutating func dispatch() -> ServerEvent? {
        if let id { lastEventID = id }
        defer { (name, data, id) = ("", [], nil) }
        guard !data.isEmpty else { return nil }
        return ServerEvent(name: name, data: data.joined(separator: "\n"), id: id ?? "")
    }
}

/// What the bridge says on its stream.
public enum Heard: Equatable, Sendable {
    /// The stream is open: time to list the incidents.
    case opened
    case callEnded(callID: String, reason: String, text: String)
    case incident(Incident)
    /// The credential is worth nothing any more; nothing follows.
    case revoked

    /// nil for what this app does not know.
    init?(_ event: ServerEvent) {
        guard let said = JSON(Data(event.data.utf8)) else { return nil }
        switch event.name {
        case "call_ended":
            guard let call = said["call"]?.string else { return nil }
            self = .callEnded(callID: call, reason: said["reason"]?.string ?? "", text: said["text"]?.string ?? "")
        case "incident":
            guard let incident = said["incident"].flatMap(Incident.init) else { return nil }
            self = .incident(incident)
        default: return nil
        }
    }
}

/// Follows the bridge's stream, across breaks: nothing is lost, and nothing is told twice.
public actor EventStream {
    private var parser: EventParser
    private let bridge: Bridge
    private let sleep: @Sendable (TimeInterval) async throws -> Void

    public init(
        _ bridge: Bridge, lastEventID: String = "",
        sleep: @escaping @Sendable (TimeInterval) async throws -> Void = {
            try await Task.sleep(nanoseconds: UInt64($0 * 1_000_000_000))
        }
    ) {
        self.bridge = bridge
        self.sleep = sleep
        parser = EventParser(lastEventID: lastEventID)
    }

    /// Where to go on after a relaunch.
    public var lastEventID: String { parser.lastEventID }

    /// Listen until the task is cancelled or the credential is revoked.
    public func follow(_ hear: @escaping @Sendable (Heard) async -> Void) async {
        while !Task.isCancelled {
            var pause = parser.retry
            do {
                try await listen(hear)
            } catch BridgeError.revoked {
                await hear(.revoked)
                return
            } catch BridgeError.tooMany(let seconds) {
                pause = max(pause, seconds)
            } catch {}
            parser.broke()
            do { try await sleep(pause) } catch { return }
        }
    }

    private func listen(_ hear: @Sendable (Heard) async -> Void) async throws {
        let bytes = try await bridge.events(after: parser.lastEventID)
        await hear(.opened)
        for try await chunk in bytes {
            for event in parser.feed(chunk) {
                if let heard = Heard(event) { await hear(heard) }
            }
        }
    }
}
