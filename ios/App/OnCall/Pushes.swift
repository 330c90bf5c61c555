import Foundation
import OnCallCore
import PushKit

/// PushKit's side: the token for calls, and the calls. Registered at each launch, before anything else.
final class Pushes: NSObject, PKPushRegistryDelegate {
    var token: (Data?) -> Void = { _ in }

    private let registry = PKPushRegistry(queue: .main)
    private let calls: Calls
    private let keeper: Keeper

    init(calls: Calls, keeper: Keeper) {
        self.calls = calls
        self.keeper = keeper
        super.init()
        registry.delegate = self
        registry.desiredPushTypes = [.voIP]
    }

    func pushRegistry(_ registry: PKPushRegistry, didUpdate credentials: PKPushCredentials, for type: PKPushType) {
        if type == .voIP { token(credentials.token) }
    }

    func pushRegistry(_ registry: PKPushRegistry, didInvalidatePushTokenFor type: PKPushType) {
        if type == .voIP { token(nil) }
    }

    /// Each push is reported before this returns, also one that is malformed or stale: iOS kills an app that does not.
    func pushRegistry(
        _ registry: PKPushRegistry, didReceiveIncomingPushWith payload: PKPushPayload, for type: PKPushType,
        completion: @escaping () -> Void
    ) {
        take(payload, mustReport: true)
        completion()
    }

    #if compiler(>=6.3) || ONCALL_STUBS
    /// From iOS 26.4 on, which says of each push whether it must be reported.
    @available(iOS 26.4, *)
    func pushRegistry(
        _ registry: PKPushRegistry, didReceiveIncomingVoIPPushWith payload: PKPushPayload,
        metadata: PKVoIPPushMetadata, withCompletionHandler completion: @escaping () -> Void
    ) {
        take(payload, mustReport: metadata.mustReport)
        completion()
    }
    #endif

    private func take(_ payload: PKPushPayload, mustReport: Bool) {
        let reading = keeper.read(push: payload.dictionaryPayload)
        if case .push(let push) = reading, push.page.drill { keeper.keep(lastDrillAt: Date()) }
        calls.arrived(reading, mustReport: mustReport)
    }
}
