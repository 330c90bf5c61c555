import Foundation
import OnCallCore
import UserNotifications

/// iOS runs this for every notification with `mutable-content`, though the app does not run: it opens what is sealed,
/// offers the actions, and tells the bridge that the notification came.
final class NotificationService: UNNotificationServiceExtension {
    private var deliver: ((UNNotificationContent) -> Void)?
    private var content: UNMutableNotificationContent?
    private var posting: Task<Void, Never>?

    override func didReceive(
        _ request: UNNotificationRequest, withContentHandler contentHandler: @escaping (UNNotificationContent) -> Void
    ) {
        guard let content = request.content.mutableCopy() as? UNMutableNotificationContent else {
            contentHandler(request.content)
            return
        }
        (deliver, self.content) = (contentHandler, content)
        let keeper = Keeper(storage: Keychain())
        guard case .push(let push) = keeper.read(push: content.userInfo) else { return finish() }
        show(push, in: content)
        guard let record = CallBook.Record(push), canPost(record, keeper) else { return finish() }
        posting = Task {
            await self.post(Receipt(record, .received, at: Date(), eventID: UUID()), keeper)
            self.finish()
        }
    }

    /// iOS gives about 30 seconds: what is not told by then is not told, but shown it is.
    override func serviceExtensionTimeWillExpire() {
        posting?.cancel()
        finish()
    }

    private func show(_ push: Push, in content: UNMutableNotificationContent) {
        if push.sealed == nil {
            content.title = push.page.name
            content.body = push.page.reason
        } else {
            content.body = "This page could not be opened. Unlock this phone and open the app."
        }
        if push.isNewer { content.subtitle = "Please update the app" }
        if push.kind == .alert { content.categoryIdentifier = "page" }
        content.threadIdentifier = push.page.incidents.first?.id ?? ""
    }

    /// Before the first unlock there is no credential: what is shown does not wait for it.
    private func canPost(_ record: CallBook.Record, _ keeper: Keeper) -> Bool {
        if case .pushed = record.target { return true }
        return (try? keeper.enrolment()) != nil
    }

    private func post(_ receipt: Receipt, _ keeper: Keeper) async {
        let poster = ReceiptPoster(transport: URLSessionTransport()) { try keeper.enrolment() }
        for pause in Outbox.pauses {
            let attempt = await poster.post(receipt)
            if case .answered(let status, _) = attempt, status < 500, status != 429 { return }
            do { try await Task.sleep(nanoseconds: UInt64(pause * 1_000_000_000)) } catch { return }
        }
    }

    private func finish() {
        guard let content else { return }
        deliver?(content)
        (deliver, self.content) = (nil, nil)
    }
}
