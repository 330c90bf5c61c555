import Foundation

/// What is read aloud when a call is answered.
public enum Speech {
    /// The most incidents that are read out one by one.
    static let most = 3

    public static func of(_ push: Push) -> String {
        if push.sealed != nil {
            return "\(push.page.name). This page could not be opened on this phone. Unlock it and look into the app."
        }
        let update = push.isNewer ? ["The bridge is newer than this app. Please update the app."] : []
        return ([of(push.page)] + update).joined(separator: " ")
    }

    public static func of(_ page: Page) -> String {
        let named = page.incidents.prefix(most).map(\.title).filter { !page.name.contains($0) && !page.reason.contains($0) }
        let more = page.incidentCount - min(page.incidents.count, most)
        var parts = [page.name, page.reason]
        if !named.isEmpty { parts.append(named.joined(separator: ", ")) }
        if more > 0, page.incidentCount > 1 { parts.append("And \(more) more") }
        if page.truncatedAlerts > 0 { parts.append("\(page.truncatedAlerts) alerts were left out") }
        return parts.filter { !$0.isEmpty }.map { $0.hasSuffix(".") ? $0 : $0 + "." }.joined(separator: " ")
    }
}
