import OnCallCore
import SwiftUI

struct ReadinessView: View {
    @ObservedObject var model: Model

    var body: some View {
        NavigationStack {
            List {
                Section("Would this phone ring tonight?") {
                    ForEach(Readiness.checks(model.facts, now: Date())) { check in
                        Label(check.text, systemImage: check.verdict.symbol).foregroundStyle(check.verdict.color)
                    }
                }
                Section(model.enrolment.map { "\($0.device), \($0.owner)" } ?? "") {
                    Button("New key for encrypted pages") { model.rotateKey() }
                    Button("Sign off", role: .destructive) { model.signOff() }
                }
            }
            .navigationTitle("Ready?")
            .task { await refresh() }
            .refreshable { await refresh() }
        }
    }

    private func refresh() async { model.refresh() }
}

extension Check.Verdict {
    var symbol: String {
        switch self {
        case .good: "checkmark.circle"
        case .warning: "exclamationmark.triangle"
        case .bad: "xmark.octagon"
        }
    }

    var color: Color {
        switch self {
        case .good: .primary
        case .warning: .orange
        case .bad: .red
        }
    }
}
