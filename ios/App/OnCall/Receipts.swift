import Foundation
import OnCallCore
import UIKit

/// Posts receipts, in the background too, and after a relaunch those that were not told before.
final class Receipts {
    private let courier: Courier

    init(keeper: Keeper, transport: Transport) {
        let poster = ReceiptPoster(transport: transport) { try keeper.enrolment() }
        courier = Courier(storage: keeper.storage) { await poster.post($0) }
    }

    func post(_ record: CallBook.Record, _ kind: ReceiptKind, errorCode: Int? = nil) {
        let receipt = Receipt(record, kind, errorCode: errorCode, at: Date(), eventID: UUID())
        queue = Task { [courier, queue] in
            await queue?.value  // in the order in which they arose
            await courier.add(receipt)
            send()
        }
    }

    private var queue: Task<Void, Never>?

    /// Post what waits; iOS is asked for the time to do so.
    func send() {
        var background = UIBackgroundTaskIdentifier.invalid
        let task = Task { [courier] in
            await courier.run()
            await MainActor.run { UIApplication.shared.endBackgroundTask(background) }
        }
        background = UIApplication.shared.beginBackgroundTask(withName: "receipts") { task.cancel() }
    }

    func forgetCredential() async { await courier.forgetCredential() }
}
