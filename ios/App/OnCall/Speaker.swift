import AVFoundation
import Foundation

/// Reads a page aloud in the call's audio session, twice, so that somebody who has just woken up hears it.
final class Speaker: NSObject, AVSpeechSynthesizerDelegate {
    var finished: (UUID) -> Void = { _ in }

    private let synthesizer = AVSpeechSynthesizer()
    private var call: UUID?
    private var left = 0

    override init() {
        super.init()
        synthesizer.usesApplicationAudioSession = true
        synthesizer.delegate = self
    }

    /// Set the session's category; CallKit activates it.
    func prepare() {
        try? AVAudioSession.sharedInstance().setCategory(.playAndRecord, mode: .voiceChat, options: [])
    }

    func speak(_ text: String, for call: UUID) {
        stop(nil)
        (self.call, left) = (call, 2)
        for _ in 0..<left {
            let utterance = AVSpeechUtterance(string: text)
            utterance.postUtteranceDelay = 1
            synthesizer.speak(utterance)
        }
    }

    /// Fall silent; nil: whatever is read.
    func stop(_ call: UUID?) {
        guard call == nil || call == self.call else { return }
        self.call = nil
        synthesizer.stopSpeaking(at: .immediate)
    }

    func speechSynthesizer(_ synthesizer: AVSpeechSynthesizer, didFinish utterance: AVSpeechUtterance) {
        DispatchQueue.main.async { [weak self] in
            guard let self, let call = self.call else { return }
            self.left -= 1
            if self.left <= 0 { self.finished(call) }
        }
    }
}
