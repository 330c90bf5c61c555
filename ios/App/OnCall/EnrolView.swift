import OnCallCore
import SwiftUI

struct EnrolView: View {
    @ObservedObject var model: Model
    @State private var scans = false
    @State private var url = "https://"
    @State private var code = ""

    var body: some View {
        NavigationStack {
            Form {
                Section("From the bridge: devices enroll") {
                    Button("Scan the QR code") { scans = true }
                }
                Section("Or type it") {
                    TextField("Address", text: $url)
                    TextField("Code", text: $code)
                    Button("Enrol") { typed() }.disabled(code.isEmpty)
                }
            }
            .navigationTitle("On call")
            .sheet(isPresented: $scans) { ScannerView { scanned($0) } }
        }
    }

    private func scanned(_ text: String) {
        scans = false
        guard let link = EnrolmentLink(text) else { return model.say("This is not the QR code of a bridge.") }
        Task { await model.enrol(link) }
    }

    private func typed() {
        guard let link = EnrolmentLink(url: url, code: code) else { return model.say("\(url) is not an address of a bridge.") }
        Task { await model.enrol(link) }
    }
}
