// The part of Apple's PushKit that the app uses, as its documentation declares it; nothing works.
import Foundation

public struct PKPushType: Hashable, Sendable { public static let voIP = PKPushType() }
public class PKPushCredentials: NSObject {
    public var token: Data { Data() }
}
public class PKPushPayload: NSObject {
    public var dictionaryPayload: [AnyHashable: Any] { [:] }
}
/// Of iOS 26.4.
public class PKVoIPPushMetadata: NSObject {
    public var mustReport: Bool { true }
}
public protocol PKPushRegistryDelegate: NSObjectProtocol {
    func pushRegistry(_ registry: PKPushRegistry, didUpdate pushCredentials: PKPushCredentials, for type: PKPushType)
    func pushRegistry(
        _ registry: PKPushRegistry, didReceiveIncomingPushWith payload: PKPushPayload, for type: PKPushType,
        completion: @escaping () -> Void
    )
    func pushRegistry(
        _ registry: PKPushRegistry, didReceiveIncomingVoIPPushWith payload: PKPushPayload,
        metadata: PKVoIPPushMetadata, withCompletionHandler completion: @escaping () -> Void
    )
    func pushRegistry(_ registry: PKPushRegistry, didInvalidatePushTokenFor type: PKPushType)
}
public class PKPushRegistry: NSObject {
    public init(queue: DispatchQueue?) {}
    public weak var delegate: PKPushRegistryDelegate?
    public var desiredPushTypes: Set<PKPushType>?
}
