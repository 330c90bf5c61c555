import Foundation

/// What one push says (phone protocol, version 1).
public struct Push: Equatable, Sendable {
    public enum Kind: Equatable, Sendable {
        case call, alert, resolved, acknowledged
        /// A kind that this app does not know: shown as it stands.
        case other(String)
    }

    /// The version that this app knows.
    public static let version = 1

    public var version: Int
    public var kind: Kind
    public var callID: String
    public var uuid: UUID
    public var expiresAt: Date
    public var receipt: ReceiptTarget?
    public var page: Page
    /// What only this phone's key opens; nil in a clear push, and once it is opened.
    public var sealed: Sealed?

    /// Whether only a newer app understands all of it.
    public var isNewer: Bool { version > Push.version }
}

/// What a push could be read as.
public enum Reading: Equatable, Sendable {
    case push(Push)
    /// It holds no call that could be shown. Its UUID and name are given where they could be read.
    case malformed(why: String, uuid: UUID?, name: String?)
}

/// Where receipts about one call go.
public enum ReceiptTarget: Codable, Equatable, Hashable, Sendable {
    /// The push brought the URL, and a token that is good for this call alone.
    case pushed(url: String, token: String)
    /// The push could not be opened, and brought no URL: by the device's credential, to the enrolled bridge.
    case credential(callID: String)
}

/// What a push tells people about.
public struct Page: Equatable, Sendable {
    public struct Incident: Equatable, Sendable {
        public var id: String
        public var title: String
        public var severity: String
        public var receiver: String
        public var alerts: Int
    }

    public static let unknownName = "On call"

    public var name: String
    public var reason: String
    public var severity: String
    public var alerts: Int
    public var incidentCount: Int
    public var truncatedAlerts: Int
    public var incidents: [Incident]
    public var omitted: Int
    public var drill: Bool
}

extension Push {
    /// Read a payload. Nothing but `call.uuid` and `call.expires_at` is needed to show a call.
    public static func read(_ payload: JSON?) -> Reading {
        guard let payload, payload.object != nil else {
            return .malformed(why: "the payload is not a JSON object", uuid: nil, name: nil)
        }
        let name = payload["caller_name"]?.string ?? payload["aps"]?["alert"]?["title"]?.string
        guard let call = payload["call"], call.object != nil else {
            return .malformed(why: "the payload has no object `call`", uuid: nil, name: name)
        }
        guard let uuid = call["uuid"]?.string.flatMap(UUID.init(uuidString:)) else {
            return .malformed(why: "call.uuid is not a UUID", uuid: nil, name: name)
        }
        guard let expiresAt = call["expires_at"]?.time else {
            return .malformed(why: "call.expires_at is not a time of RFC 3339", uuid: uuid, name: name)
        }
        return .push(Push(
            version: payload["v"]?.int ?? version, kind: kind(payload["kind"]?.string),
            callID: call["id"]?.string ?? "", uuid: uuid, expiresAt: expiresAt,
            receipt: ReceiptTarget(call), page: Page(payload), sealed: payload["sealed"].flatMap(Sealed.init)
        ))
    }

    private static func kind(_ name: String?) -> Kind {
        switch name {
        case nil: .call
        case "alert": .alert
        case "resolved": .resolved
        case "acknowledged": .acknowledged
        case let name?: .other(name)
        }
    }

    /// The same push, with what was sealed in it.
    func opened(_ content: JSON) -> Push {
        var open = self
        open.page = Page(content)
        open.receipt = content["call"].flatMap(ReceiptTarget.init)
        open.sealed = nil
        return open
    }

    /// The same push where it could not be opened: its receipts go where it says, as it does where the bridge has no
    /// key of this phone, else by the device's credential. Nobody waits for those of a quiet one.
    func unopened() -> Push {
        var shut = self
        let quiet = kind == .resolved || kind == .acknowledged
        shut.receipt = receipt ?? (callID.isEmpty || quiet ? nil : .credential(callID: callID))
        return shut
    }
}

extension ReceiptTarget {
    init?(_ call: JSON) {
        guard let url = call["receipt_url"]?.string, !url.isEmpty else { return nil }
        self = .pushed(url: url, token: call["receipt_token"]?.string ?? "")
    }
}

extension Page {
    /// Read it from a clear payload, or from what was sealed.
    init(_ payload: JSON) {
        let shown = payload["aps"]?["alert"] ?? payload["alert"]
        let counts = payload["counts"]
        let name = payload["caller_name"]?.string ?? shown?["title"]?.string ?? ""
        self.name = name.isEmpty ? Page.unknownName : name
        reason = payload["reason"]?.string ?? shown?["body"]?.string ?? ""
        severity = payload["severity"]?.string ?? "none"
        incidents = (payload["incidents"]?.array ?? []).compactMap(Incident.init)
        alerts = counts?["alerts"]?.int ?? incidents.map(\.alerts).reduce(0, +)
        incidentCount = counts?["incidents"]?.int ?? incidents.count
        truncatedAlerts = counts?["truncated_alerts"]?.int ?? 0
        omitted = payload["incidents_omitted"]?.int ?? 0
        drill = payload["drill"]?.bool ?? false
    }
}

extension Page.Incident {
    init?(_ value: JSON) {
        guard let id = value["id"]?.string else { return nil }
        self.init(
            id: id, title: value["title"]?.string ?? "?", severity: value["severity"]?.string ?? "none",
            receiver: value["receiver"]?.string ?? "", alerts: value["alerts"]?.int ?? 0
        )
    }
}
