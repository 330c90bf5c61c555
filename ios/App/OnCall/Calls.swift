import AVFoundation
import CallKit
import Foundation
import OnCallCore

/// CallKit's side: carries out what the core's call book decides. Everything here runs on the main queue.
final class Calls: NSObject, CXProviderDelegate {
    /// Told when the stream is needed or not any more, and what the bridge is to be asked about.
    var listens: (Bool) -> Void = { _ in }
    var ask: (_ callID: String) -> Void = { _ in }

    private let provider: CXProvider
    private let receipts: Receipts
    private let speaker = Speaker()
    private var book = CallBook()
    private var timer: Timer?

    init(receipts: Receipts) {
        let configuration = CXProviderConfiguration()
        configuration.maximumCallGroups = 2
        configuration.maximumCallsPerCallGroup = 1
        configuration.supportsVideo = false
        configuration.supportedHandleTypes = [.generic]
        configuration.includesCallsInRecents = true
        provider = CXProvider(configuration: configuration)
        self.receipts = receipts
        super.init()
        provider.setDelegate(self, queue: .main)
        speaker.finished = { [weak self] uuid in self?.run { $0.spoke(uuid) } }
    }

    /// A VoIP push came. When this returns, CallKit has been told.
    func arrived(_ reading: Reading, mustReport: Bool) {
        run { $0.arrived(reading, now: Date(), spare: UUID(), mustReport: mustReport) }
    }

    func ended(callID: String, reason: String) { run { $0.ended(callID: callID, reason: reason) } }

    func learned(callID: String, _ speech: String) { book.learned(callID: callID, speech) }

    private func run(_ verb: (inout CallBook) -> [CallBook.Command]) {
        for command in verb(&book) { carryOut(command) }
        setTimer()
        listens(book.listens)
    }

    private func carryOut(_ command: CallBook.Command) {
        switch command {
        case .report(let ticket, let uuid, let name): report(ticket, uuid, name)
        case .end(let uuid, let reason):
            speaker.stop(uuid)
            provider.reportCall(with: uuid, endedAt: nil, reason: reason.callKit)
        case .post(let record, let kind, let errorCode): receipts.post(record, kind, errorCode: errorCode)
        case .speak(let uuid, let text): speaker.speak(text, for: uuid)
        case .ask(let callID): ask(callID)
        }
    }

    private func report(_ ticket: Int, _ uuid: UUID, _ name: String) {
        let update = CXCallUpdate()
        update.remoteHandle = CXHandle(type: .generic, value: name)
        update.localizedCallerName = name
        update.hasVideo = false
        update.supportsHolding = false
        update.supportsGrouping = false
        update.supportsUngrouping = false
        update.supportsDTMF = false
        provider.reportNewIncomingCall(with: uuid, update: update) { error in
            let code = error.map { ($0 as NSError).code }
            DispatchQueue.main.async { [weak self] in
                self?.run { $0.reported(ticket: ticket, errorCode: code, now: Date()) }
            }
        }
    }

    private func setTimer() {
        timer?.invalidate()
        timer = book.nextDeadline.map { deadline in
            let wait = max(0.01, deadline.timeIntervalSinceNow)
            return Timer.scheduledTimer(withTimeInterval: wait, repeats: false) { [weak self] _ in
                self?.run { $0.tick(now: Date()) }
            }
        }
    }

    // MARK: CXProviderDelegate

    func providerDidReset(_ provider: CXProvider) {
        speaker.stop(nil)
        run { book in
            book.reset()
            return []
        }
    }

    func provider(_ provider: CXProvider, perform action: CXAnswerCallAction) {
        speaker.prepare()
        run { $0.answer(action.callUUID) }
        action.fulfill()
    }

    func provider(_ provider: CXProvider, perform action: CXEndCallAction) {
        speaker.stop(action.callUUID)
        run { $0.hangUp(action.callUUID) }
        action.fulfill()
    }

    func provider(_ provider: CXProvider, didActivate audioSession: AVAudioSession) {
        run { $0.audioActivated() }
    }

    func provider(_ provider: CXProvider, didDeactivate audioSession: AVAudioSession) { speaker.stop(nil) }
}

extension EndReason {
    var callKit: CXCallEndedReason {
        switch self {
        case .failed: .failed
        case .remoteEnded: .remoteEnded
        case .unanswered: .unanswered
        case .answeredElsewhere: .answeredElsewhere
        }
    }
}
