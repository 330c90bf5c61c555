import Foundation

/// What the app knows of itself when somebody asks whether it would ring tonight.
public struct Facts: Equatable, Sendable {
    public enum Permission: Equatable, Sendable { case allowed, refused, notAsked, unknown }

    public var enrolled = false
    public var notifications = Permission.unknown
    public var criticalAlerts = Permission.unknown
    public var timeSensitive = Permission.unknown
    public var hasVoIPToken = false
    public var hasAlertToken = false
    public var device: Device?
    /// When a drill last rang here.
    public var lastDrillAt: Date?
    /// The id of this phone's page key.
    public var kid: String?

    public init() {}
}

/// One line of the readiness page.
public struct Check: Equatable, Identifiable, Sendable {
    public enum Verdict: Equatable, Sendable { case good, warning, bad }

    public var id: String
    public var verdict: Verdict
    public var text: String
}

public enum Readiness {
    /// A drill is old after eight days: docs/drills.md has one each week.
    static let drillAge: TimeInterval = 8 * 24 * 3600

    public static func checks(_ facts: Facts, now: Date) -> [Check] {
        guard facts.enrolled else {
            return [Check(id: "enrolled", verdict: .bad, text: "This phone has not enrolled. Scan the QR code of the bridge.")]
        }
        var checks = [
            said("voip", facts.hasVoIPToken, "iOS gave a token for calls.", "iOS gave no token for calls: calls cannot ring. Is Voice over IP in the app's background modes?"),
            said("alert", facts.hasAlertToken, "iOS gave a token for notifications.", "iOS gave no token for notifications: nothing stands in for a call."),
            permission("notifications", facts.notifications, .bad, "Notifications", "Settings, Notifications: allow them."),
            permission("time-sensitive", facts.timeSensitive, .warning, "Time-sensitive notifications", "A Focus holds back what stands in for a call."),
            permission("critical", facts.criticalAlerts, .warning, "Critical alerts", "Without Apple's entitlement and your consent, Do Not Disturb silences notifications."),
            key(facts.kid, facts.device),
            Check(id: "focus", verdict: .warning, text: "iOS does not tell an app whether a Focus lets its calls through. Allow this app in every Focus that you use at night, and try it with a drill."),
            drill(facts.lastDrillAt, now),
        ]
        checks += bridge(facts.device)
        return checks
    }

    private static func bridge(_ device: Device?) -> [Check] {
        guard let device else {
            return [Check(id: "bridge", verdict: .bad, text: "The bridge was not reached: what it thinks of this phone is not known.")]
        }
        let troubles = device.troubles.enumerated().map { Check(id: "trouble \($0.offset)", verdict: .bad, text: $0.element) }
        let verdict = said("bridge", device.wouldRing, "The bridge would ring this phone tonight.", "The bridge would not ring this phone tonight.")
        return troubles + [verdict]
    }

    private static func key(_ kid: String?, _ device: Device?) -> Check {
        let trouble: String? = switch (kid, device?.keyID) {
        case (nil, _): "This phone has no page key: Apple can read its pages. Make one below."
        case (_, nil) where device != nil: "The bridge has no page key of this phone: Apple can read its pages, or they say nothing. Open the app again."
        case (let mine?, let theirs?) where mine != theirs: "The bridge seals pages for the key \(theirs), and this phone's is \(mine): they may ring without saying why. Open the app again."
        default: nil
        }
        return said("key", trouble == nil, "This phone has a key for sealed pages, \(kid ?? "").", trouble ?? "", .warning)
    }

    private static func drill(_ at: Date?, _ now: Date) -> Check {
        guard let at else {
            return Check(id: "drill", verdict: .warning, text: "No drill has rung here yet: ask for one, with Do Not Disturb on.")
        }
        let days = Int(now.timeIntervalSince(at) / 86400)
        let old = now.timeIntervalSince(at) > drillAge
        return Check(id: "drill", verdict: old ? .warning : .good, text: "The last drill rang here \(days) days ago.")
    }

    private static func said(_ id: String, _ good: Bool, _ yes: String, _ no: String, _ else: Check.Verdict = .bad) -> Check {
        Check(id: id, verdict: good ? .good : `else`, text: good ? yes : no)
    }

    private static func permission(
        _ id: String, _ permission: Facts.Permission, _ missing: Check.Verdict, _ what: String, _ advice: String
    ) -> Check {
        switch permission {
        case .allowed: Check(id: id, verdict: .good, text: "\(what): allowed.")
        case .refused: Check(id: id, verdict: missing, text: "\(what): not allowed. \(advice)")
        case .notAsked: Check(id: id, verdict: missing, text: "\(what): not asked for yet. \(advice)")
        case .unknown: Check(id: id, verdict: .warning, text: "\(what): iOS does not say. \(advice)")
        }
    }
}
