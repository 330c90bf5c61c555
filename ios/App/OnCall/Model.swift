import Foundation
import OnCallCore
import SwiftUI
import UIKit

/// What the app knows and does; used on the main queue alone. The views show it.
final class Model: ObservableObject {
    @Published private(set) var enrolment: Enrolment?
    @Published private(set) var inbox = Inbox()
    @Published private(set) var facts = Facts()
    @Published var message: String?

    let keeper = Keeper(storage: Keychain())
    let transport = URLSessionTransport()
    private lazy var receipts = Receipts(keeper: keeper, transport: transport)
    private lazy var calls = Calls(receipts: receipts)
    private lazy var pushes = Pushes(calls: calls, keeper: keeper)
    private lazy var notifications = Notifications(model: self, receipts: receipts)
    private var following: Task<Void, Never>?
    private var (callIsUp, isAwake) = (false, false)
    private var tokens = Tokens()

    var bridge: Bridge? { enrolment.map { Bridge($0, transport: transport) } }

    /// At each launch: PushKit first, so that a push that launched the app finds its delegate.
    func start() {
        enrolment = try? keeper.enrolment()
        tokens = Tokens.ofThisApp
        calls.listens = { [weak self] in self?.callIsUp($0) }
        calls.ask = { [weak self] in self?.ask($0) }
        pushes.token = { [weak self] in self?.voipToken($0) }
        notifications.start()
        receipts.send()
    }

    /// The app came to the foreground, or left it.
    func awake(_ awake: Bool) {
        isAwake = awake
        if awake { unlocked() }
        follow()
        if awake { refresh() }
    }

    /// The keychain can be read: iOS may have launched the app before that. What was not told yet is told.
    func unlocked() {
        receipts.send()
        recall()
    }

    private func recall() {
        guard enrolment == nil, let kept = try? keeper.enrolment() else { return }
        enrolment = kept
        putTokens()
        follow()
    }

    func say(_ text: String) { message = text }

    // MARK: tokens

    func alertToken(_ token: Data) {
        tokens.alert = token
        facts.hasAlertToken = true
        putTokens()
    }

    private func voipToken(_ token: Data?) {
        tokens.voip = token
        facts.hasVoIPToken = token != nil
        if token == nil { work { _ = try await $0.forgetToken("voip") } } else { putTokens() }
    }

    private func putTokens() {
        guard tokens.voip != nil || tokens.alert != nil else { return }
        let tokens = tokens
        work { [weak self] bridge in
            guard let device = await self?.sealed(try await bridge.putTokens(tokens), bridge) else { return }
            await MainActor.run { self?.facts.device = device }
        }
    }

    /// See that the bridge seals for the present key; where it does not take it, *Ready?* says so.
    private func sealed(_ device: Device, _ bridge: Bridge) async -> Device {
        guard let keys = await MainActor.run(body: { try? self.keys() }), let key = keys.keyToPut(for: device)
        else { return device }
        return (try? await bridge.putEncryptionKey(key.publicKey)) ?? device
    }

    /// The page keys; one is made where there is none. Throws before the first unlock.
    private func keys() throws -> KeyRing {
        var keys = try keeper.keys()
        if keys.current == nil {
            _ = try keys.rotate(with: CryptoKitKeys(), now: Date())
            try keeper.keep(keys)
        }
        return keys
    }

    // MARK: enrolment

    func enrol(_ link: EnrolmentLink) async {
        do {
            var keys = KeyRing()
            let key = try keys.rotate(with: CryptoKitKeys(), now: Date())
            let name = await MainActor.run { UIDevice.current.name }
            let new = try await Bridge.enrol(
                link, name: String(name.prefix(64)), appVersion: tokens.appVersion, osVersion: tokens.osVersion,
                publicKey: key.publicKey, transport: transport
            )
            try keeper.keep(keys)  // not before: a code that is refused leaves the phone as it was
            try keeper.keep(new)
            await MainActor.run { self.enrolled(new) }
        } catch {
            await MainActor.run { self.say(Model.words(error)) }
        }
    }

    private func enrolled(_ new: Enrolment) {
        keeper.keep(lastEventID: "")
        enrolment = new
        following?.cancel()
        following = nil
        putTokens()
        follow()
        refresh()
    }

    func signOff() {
        work { try await $0.signOff() }
        forget()
    }

    /// Make a new page key; the one of before opens what is under way.
    func rotateKey() {
        guard var keys = try? keeper.keys() else { return say("The keychain cannot be read.") }
        let old = keys.current?.keyID
        guard let new = try? keys.rotate(with: CryptoKitKeys(), now: Date()), (try? keeper.keep(keys)) != nil else {
            return say("The keychain did not take the new key.")
        }
        work { [keeper] bridge in
            do { try await bridge.putEncryptionKey(new.publicKey) } catch {
                if let old { keys.revive(old, now: Date()) }
                try? keeper.keep(keys)
                throw error
            }
        }
    }

    private func forget() {
        following?.cancel()
        following = nil
        try? keeper.keep(Enrolment?.none)
        enrolment = nil
        inbox = Inbox()
        facts.device = nil
        Task { await receipts.forgetCredential() }
    }

    // MARK: incidents

    func refresh() {
        Task {
            var new = await notifications.permissions(facts)
            new.enrolled = enrolment != nil
            new.lastDrillAt = keeper.lastDrillAt
            let list = try? await bridge?.incidents().list
            new.device = nil
            if let bridge, let device = try? await bridge.device() { new.device = await sealed(device, bridge) }
            new.kid = try? keeper.keys().current?.keyID
            await MainActor.run { [new] in
                let (voip, alert) = (self.facts.hasVoIPToken, self.facts.hasAlertToken)
                self.facts = new
                (self.facts.hasVoIPToken, self.facts.hasAlertToken) = (voip, alert)
                if let list { self.inbox.fill(list) }
            }
        }
    }

    func incident(_ id: String) async -> Incident? { try? await bridge?.incident(id) }

    /// Do it, with repetitions under one event id; gives the incident as it is then.
    func act(_ act: Act, on id: String) async -> Incident? {
        guard let bridge else { return nil }
        let eventID = UUID()
        for pause in [0.5, 1, 2, 0] {
            do { return try await bridge.act(act, on: id, eventID: eventID) } catch {
                if !Model.repeats(error) || pause == 0 {
                    await MainActor.run { self.failed(error) }
                    return nil
                }
            }
            try? await Task.sleep(nanoseconds: UInt64(pause * 1_000_000_000))
        }
        return nil
    }

    /// A push could not be opened: the bridge is asked what its call is about.
    private func ask(_ callID: String) {
        work { [weak self] bridge in
            let incidents = try await bridge.incidents(ofCall: callID)
            let speech = incidents.map { "\($0.title). \($0.summary)." }.joined(separator: " ")
            await MainActor.run { self?.calls.learned(callID: callID, speech) }
        }
    }

    // MARK: the stream

    private func callIsUp(_ up: Bool) {
        callIsUp = up
        recall()
        follow()
    }

    private func follow() {
        guard let bridge, callIsUp || isAwake else {
            following?.cancel()
            following = nil
            return
        }
        guard following == nil else { return }
        let stream = EventStream(bridge, lastEventID: keeper.lastEventID)
        following = Task { [weak self, keeper] in
            await stream.follow { heard in
                await MainActor.run { self?.hear(heard) }
                keeper.keep(lastEventID: await stream.lastEventID)
            }
        }
    }

    private func hear(_ heard: Heard) {
        switch heard {
        case .opened: refresh()
        case .incident(let incident): inbox.put(incident)
        case .callEnded(let callID, let reason, _): calls.ended(callID: callID, reason: reason)
        case .revoked: forget()
        }
    }

    // MARK: parts

    private func work(_ what: @escaping (Bridge) async throws -> Void) {
        guard let bridge else { return }
        Task {
            do { try await what(bridge) } catch { await MainActor.run { self.failed(error) } }
        }
    }

    private func failed(_ error: Error) {
        if error as? BridgeError == .revoked { forget() }
        say(Model.words(error))
    }

    private static func repeats(_ error: Error) -> Bool {
        switch error as? BridgeError {
        case nil, .tooMany: true
        case .refused(let status, _, _): status >= 500
        default: false
        }
    }

    private static func words(_ error: Error) -> String {
        switch error as? BridgeError {
        case .revoked: "The bridge does not know this phone any more. Enrol again."
        case .tooMany(let seconds): "Too many attempts. Wait \(Int(seconds)) seconds."
        case .refused(_, let message, let hint): [message, hint].filter { !$0.isEmpty }.joined(separator: ". ")
        case .unreadable: "The bridge's answer could not be read. Is the app up to date?"
        case .badAddress(let address): "\(address) is not an address of a bridge."
        case nil: "The bridge was not reached: \(error.localizedDescription)"
        }
    }
}

extension Tokens {
    /// What the build's configuration says of this app.
    static var ofThisApp: Tokens {
        let info = Bundle.main.infoDictionary ?? [:]
        let version = info["CFBundleShortVersionString"] as? String ?? "?"
        let build = info["CFBundleVersion"] as? String ?? "?"
        return Tokens(
            environment: info["OnCallEnvironment"] as? String, bundleID: Bundle.main.bundleIdentifier,
            appVersion: "\(version) (\(build))", osVersion: UIDevice.current.systemVersion
        )
    }
}
