import Foundation

/// The tokens that iOS gave the app, and what kind of app it is.
public struct Tokens: Equatable, Sendable {
    public var voip: Data?
    public var alert: Data?
    public var environment: String?
    public var bundleID: String?
    public var appVersion: String?
    public var osVersion: String?

    public init(
        voip: Data? = nil, alert: Data? = nil, environment: String? = nil, bundleID: String? = nil,
        appVersion: String? = nil, osVersion: String? = nil
    ) {
        self.voip = voip
        self.alert = alert
        self.environment = environment
        self.bundleID = bundleID
        self.appVersion = appVersion
        self.osVersion = osVersion
    }

    var body: JSON {
        let fields: [(String, String?)] = [
            ("voip_token", voip?.hex), ("alert_token", alert?.hex), ("environment", environment),
            ("bundle_id", bundleID), ("app_version", appVersion), ("os_version", osVersion),
        ]
        return .object(Dictionary(uniqueKeysWithValues: fields.compactMap { name, value in
            value.map { (name, JSON.string($0)) }
        }))
    }
}

/// This phone as the bridge sees it.
public struct Device: Equatable, Sendable {
    public var name: String
    public var owner: String
    public var hasVoIPToken: Bool
    public var hasAlertToken: Bool
    public var troubles: [String]
    public var wouldRing: Bool
    /// The id of the key for which the bridge seals; nil without one.
    public var keyID: String?
    /// Whether the bridge knows of keys at all.
    public var seals: Bool

    public init(_ value: JSON) {
        seals = value["kid"] != nil
        keyID = value["kid"]?.string
        name = value["name"]?.string ?? ""
        owner = value["owner"]?.string ?? ""
        hasVoIPToken = value["has_voip_token"]?.bool ?? false
        hasAlertToken = value["has_alert_token"]?.bool ?? false
        troubles = (value["troubles"]?.array ?? []).compactMap(\.string)
        wouldRing = value["would_ring"]?.bool ?? false
    }
}

/// An incident as the bridge lists it; `alerts` and `timeline` where it was asked for alone.
public struct Incident: Equatable, Identifiable, Sendable {
    public struct Alert: Equatable, Sendable {
        public var labels: [String: String]
        public var annotations: [String: String]
        public var runbook: URL?
    }

    public struct Line: Equatable, Identifiable, Sendable {
        public var id: Int
        public var at: Date?
        public var kind: String
        public var text: String
    }

    public var id: String
    public var revision: Int
    public var state: String
    public var title: String
    public var summary: String
    public var severity: String
    public var receiver: String
    public var drill: Bool
    public var alertsFiring: Int
    public var openedAt: Date?
    public var nextRingAt: Date?
    public var acknowledgedBy: String?
    public var silencedUntil: Date?
    public var resolution: String?
    public var alerts: [Alert]
    public var timeline: [Line]

    public init?(_ value: JSON) {
        guard let id = value["id"]?.string else { return nil }
        self.id = id
        revision = value["revision"]?.int ?? 0
        state = value["state"]?.string ?? "triggered"
        title = value["title"]?.string ?? "?"
        summary = value["summary"]?.string ?? ""
        severity = value["severity"]?.string ?? "none"
        receiver = value["receiver"]?.string ?? ""
        drill = value["drill"]?.bool ?? false
        alertsFiring = value["alerts_firing"]?.int ?? 0
        openedAt = value["opened_at"]?.time
        nextRingAt = value["next_ring_at"]?.time
        acknowledgedBy = value["acknowledged_by"]?.string
        silencedUntil = value["silenced_until"]?.time
        resolution = value["resolution"]?.string
        alerts = (value["alerts"]?.array ?? []).map(Alert.init)
        timeline = (value["timeline"]?.array ?? []).compactMap(Line.init)
    }

    public var open: Bool { state != "resolved" }

    /// How its end is said: nobody knows whether what expired is mended.
    public var ending: String? {
        switch resolution {
        case nil: nil
        case "expired": "expired: Alertmanager stopped mentioning it"
        case let word?: word
        }
    }
}

extension Incident.Alert {
    init(_ value: JSON) {
        labels = (value["labels"]?.object ?? [:]).compactMapValues(\.string)
        annotations = (value["annotations"]?.object ?? [:]).compactMapValues(\.string)
        let page = value["runbook_url"]?.string.flatMap(URL.init(string:))
        runbook = page.flatMap { ["http", "https"].contains($0.scheme ?? "") ? $0 : nil }
    }
}

extension Incident.Line {
    init?(_ value: JSON) {
        guard let id = value["id"]?.int else { return nil }
        self.init(id: id, at: value["at"]?.time, kind: value["kind"]?.string ?? "", text: value["text"]?.string ?? "")
    }
}

/// What a person does to an incident.
public enum Act: Equatable, Sendable {
    case acknowledge, unacknowledge, handOn
    case silence(seconds: Int)
    case note(String)

    var verb: String {
        switch self {
        case .acknowledge: "acknowledge"
        case .unacknowledge: "unacknowledge"
        case .handOn: "hand-on"
        case .silence: "silence"
        case .note: "notes"
        }
    }

    var fields: [String: JSON] {
        switch self {
        case .silence(let seconds): ["seconds": .number(Double(seconds))]
        case .note(let text): ["text": .string(text)]
        default: [:]
        }
    }
}

/// The incidents that the app shows: the bridge's list, and what its stream said since.
public struct Inbox: Equatable, Sendable {
    static let closedKept = 20
    private var incidents: [String: Incident] = [:]

    public init() {}

    /// Take the bridge's list in place of everything.
    public mutating func fill(_ listed: [Incident]) {
        incidents = Dictionary(listed.map { ($0.id, $0) }) { first, _ in first }
    }

    /// Take what the stream said about one. Of those that are over the newest are kept.
    public mutating func put(_ incident: Incident) {
        incidents[incident.id] = incident
        for closed in list.filter({ !$0.open }).dropFirst(Inbox.closedKept) { incidents[closed.id] = nil }
    }

    /// The open ones first, then the newest.
    public var list: [Incident] {
        incidents.values.sorted {
            $0.open == $1.open
                ? ($0.openedAt ?? .distantPast, $0.id) > ($1.openedAt ?? .distantPast, $1.id) : $0.open
        }
    }
}
