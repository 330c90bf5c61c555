import OnCallCore
import SwiftUI

struct IncidentView: View {
    @ObservedObject var model: Model
    @State var incident: Incident
    @State private var note = ""

    var body: some View {
        List {
            Section("What") { IncidentRow(incident: incident) }
            if incident.open { Section("Do") { actions } }
            Section("Alerts") { alerts }
            Section("Note") {
                TextField("A line in the timeline", text: $note)
                Button("Write") { act(.note(note)) }.disabled(note.isEmpty)
            }
            Section("What happened") {
                ForEach(incident.timeline) { line in
                    VStack(alignment: .leading) {
                        Text(line.text)
                        Text(line.at.map { $0.formatted(date: .omitted, time: .standard) } ?? "").font(.caption)
                    }
                }
            }
        }
        .navigationTitle(incident.title)
        .task { await load() }
        .refreshable { await load() }
    }

    @ViewBuilder private var actions: some View {
        if incident.acknowledgedBy == nil {
            Button("Acknowledge") { act(.acknowledge) }
        } else {
            Button("Give it back") { act(.unacknowledge) }
        }
        Button("Escalate: ring the next step") { act(.handOn) }
        Button("Silence for an hour") { act(.silence(seconds: 3600)) }
    }

    @ViewBuilder private var alerts: some View {
        ForEach(Array(incident.alerts.enumerated()), id: \.offset) { _, alert in
            VStack(alignment: .leading) {
                Text(alert.labels.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: " "))
                if let runbook = alert.runbook { Link("Runbook", destination: runbook) }
            }
        }
    }

    private func load() async { incident = await model.incident(incident.id) ?? incident }

    private func act(_ act: Act) {
        Task {
            guard await model.act(act, on: incident.id) != nil else { return }
            note = ""
            await load()
        }
    }
}
