// The part of Apple's AVFoundation (and AVFAudio) that the app uses, as its documentation declares it; nothing works.
import UIKit

public class AVAudioSession: NSObject {
    public struct Category: Sendable { public static let playAndRecord = Category() }
    public struct Mode: Sendable { public static let voiceChat = Mode() }
    public struct CategoryOptions: OptionSet, Sendable {
        public let rawValue: UInt
        public init(rawValue: UInt) { self.rawValue = rawValue }
    }
    public class func sharedInstance() -> AVAudioSession { fatalError() }
    public func setCategory(_ category: Category, mode: Mode, options: CategoryOptions = []) throws {}
}
public enum AVSpeechBoundary { case immediate, word }
public class AVSpeechUtterance: NSObject {
    public init(string: String) {}
    public var postUtteranceDelay: TimeInterval = 0
}
public protocol AVSpeechSynthesizerDelegate: NSObjectProtocol {
    func speechSynthesizer(_ synthesizer: AVSpeechSynthesizer, didFinish utterance: AVSpeechUtterance)
}
public class AVSpeechSynthesizer: NSObject {
    public weak var delegate: AVSpeechSynthesizerDelegate?
    public var usesApplicationAudioSession = true
    public func speak(_ utterance: AVSpeechUtterance) {}
    @discardableResult public func stopSpeaking(at boundary: AVSpeechBoundary) -> Bool { false }
}
public struct AVMediaType: Sendable { public static let video = AVMediaType() }
public class AVCaptureDevice: NSObject {
    public class func `default`(for mediaType: AVMediaType) -> AVCaptureDevice? { nil }
}
public class AVCaptureInput: NSObject {}
public class AVCaptureOutput: NSObject {}
public class AVCaptureConnection: NSObject {}
public class AVCaptureDeviceInput: AVCaptureInput {
    public init(device: AVCaptureDevice) throws {}
}
public class AVMetadataObject: NSObject {
    public struct ObjectType: Sendable { public static let qr = ObjectType() }
}
public class AVMetadataMachineReadableCodeObject: AVMetadataObject {
    public var stringValue: String? { nil }
}
public protocol AVCaptureMetadataOutputObjectsDelegate: NSObjectProtocol {
    func metadataOutput(
        _ output: AVCaptureMetadataOutput, didOutput metadataObjects: [AVMetadataObject],
        from connection: AVCaptureConnection
    )
}
public class AVCaptureMetadataOutput: AVCaptureOutput {
    public func setMetadataObjectsDelegate(
        _ objectsDelegate: AVCaptureMetadataOutputObjectsDelegate?, queue: DispatchQueue?
    ) {}
    public var metadataObjectTypes: [AVMetadataObject.ObjectType]! = []
}
public class AVCaptureSession: NSObject, @unchecked Sendable {
    public func canAddInput(_ input: AVCaptureInput) -> Bool { false }
    public func addInput(_ input: AVCaptureInput) {}
    public func addOutput(_ output: AVCaptureOutput) {}
    public func startRunning() {}
    public func stopRunning() {}
}
public class AVCaptureVideoPreviewLayer: CALayer {
    public init(session: AVCaptureSession) {}
}
