// The part of Apple's CallKit that the app uses, as its documentation declares it; nothing works.
import AVFoundation
import Foundation

public enum CXCallEndedReason: Int { case failed = 1, remoteEnded, unanswered, answeredElsewhere, declinedElsewhere }
public class CXHandle: NSObject {
    public enum HandleType: Int { case generic = 1, phoneNumber, emailAddress }
    public init(type: HandleType, value: String) {}
}
public class CXCallUpdate: NSObject {
    public var remoteHandle: CXHandle?
    public var localizedCallerName: String?
    public var supportsHolding = false
    public var supportsGrouping = false
    public var supportsUngrouping = false
    public var supportsDTMF = false
    public var hasVideo = false
}
public class CXProviderConfiguration: NSObject {
    public var maximumCallGroups = 2
    public var maximumCallsPerCallGroup = 5
    public var supportsVideo = false
    public var supportedHandleTypes: Set<CXHandle.HandleType> = []
    public var includesCallsInRecents = true
}
public class CXAction: NSObject {
    public func fulfill() {}
    public func fail() {}
}
public class CXCallAction: CXAction {
    public var callUUID: UUID { UUID() }
}
public class CXAnswerCallAction: CXCallAction {}
public class CXEndCallAction: CXCallAction {}
public protocol CXProviderDelegate: NSObjectProtocol {
    func providerDidReset(_ provider: CXProvider)
    func provider(_ provider: CXProvider, perform action: CXAnswerCallAction)
    func provider(_ provider: CXProvider, perform action: CXEndCallAction)
    func provider(_ provider: CXProvider, didActivate audioSession: AVAudioSession)
    func provider(_ provider: CXProvider, didDeactivate audioSession: AVAudioSession)
}
public class CXProvider: NSObject {
    public init(configuration: CXProviderConfiguration) {}
    public func setDelegate(_ delegate: CXProviderDelegate?, queue: DispatchQueue?) {}
    public func reportNewIncomingCall(
        with UUID: UUID, update: CXCallUpdate, completion: @escaping @Sendable ((any Error)?) -> Void
    ) {}
    public func reportCall(with UUID: UUID, endedAt dateEnded: Date?, reason endedReason: CXCallEndedReason) {}
}
