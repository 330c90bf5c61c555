import Foundation
import OnCallCore
import UserNotifications

/// Notifications that stand in for calls, and what a person does with them from the lock screen.
final class Notifications: NSObject, UNUserNotificationCenterDelegate {
    private static let silence = 3600

    private unowned let model: Model
    private let receipts: Receipts
    private let center = UNUserNotificationCenter.current()

    init(model: Model, receipts: Receipts) {
        self.model = model
        self.receipts = receipts
    }

    func start() {
        center.delegate = self
        center.setNotificationCategories([UNNotificationCategory(
            identifier: "page",
            actions: [
                UNNotificationAction(identifier: "acknowledge", title: "Acknowledge", options: []),
                UNNotificationAction(identifier: "escalate", title: "Escalate", options: [.authenticationRequired]),
                UNNotificationAction(identifier: "silence", title: "Silence for an hour", options: [.authenticationRequired]),
            ],
            intentIdentifiers: [], options: []
        )])
        center.requestAuthorization(options: [.alert, .sound, .badge, .criticalAlert]) { _, _ in }
    }

    /// The facts, with what iOS says of permissions.
    func permissions(_ facts: Facts) async -> Facts {
        let settings = await center.notificationSettings()
        var facts = facts
        facts.notifications = Notifications.permission(settings.authorizationStatus)
        facts.criticalAlerts = Notifications.permission(settings.criticalAlertSetting)
        facts.timeSensitive = Notifications.permission(settings.timeSensitiveSetting)
        return facts
    }

    private static func permission(_ status: UNAuthorizationStatus) -> Facts.Permission {
        switch status {
        case .authorized: .allowed
        case .denied: .refused
        case .notDetermined: .notAsked
        default: .unknown
        }
    }

    private static func permission(_ setting: UNNotificationSetting) -> Facts.Permission {
        switch setting {
        case .enabled: .allowed
        case .disabled: .refused
        default: .unknown
        }
    }

    // MARK: UNUserNotificationCenterDelegate

    func userNotificationCenter(
        _ center: UNUserNotificationCenter, willPresent notification: UNNotification,
        withCompletionHandler completionHandler: @escaping (UNNotificationPresentationOptions) -> Void
    ) {
        completionHandler([.banner, .list, .sound])
    }

    func userNotificationCenter(
        _ center: UNUserNotificationCenter, didReceive response: UNNotificationResponse,
        withCompletionHandler completionHandler: @escaping () -> Void
    ) {
        let reading = model.keeper.read(push: response.notification.request.content.userInfo)
        guard case .push(let push) = reading else { return completionHandler() }
        let action = response.actionIdentifier
        Task { @MainActor in
            await self.act(action, on: push)
            completionHandler()
        }
    }

    @MainActor
    private func act(_ action: String, on push: Push) async {
        switch action {
        case "acknowledge": await acknowledge(push)
        case "escalate": await each(push, .handOn)
        case "silence": await each(push, .silence(seconds: Notifications.silence))
        default: model.refresh()  // opened: the list shows it
        }
    }

    /// A receipt acknowledges exactly what the notification carried, what it had no room for too.
    @MainActor
    private func acknowledge(_ push: Push) async {
        if let record = CallBook.Record(push) {
            receipts.post(record, .answered)
        } else {
            await each(push, .acknowledge)
        }
    }

    @MainActor
    private func each(_ push: Push, _ act: Act) async {
        var names = push.page.incidents.map(\.id)
        if names.isEmpty || push.page.omitted > 0, let all = try? await model.bridge?.incidents(ofCall: push.callID) {
            names = all.map(\.id)
        }
        if names.isEmpty { model.say("It is not known what this notification is about. Look at the list.") }
        for name in names { _ = await model.act(act, on: name) }
    }
}
