import OnCallCore
import SwiftUI

struct ContentView: View {
    @ObservedObject var model: Model

    var body: some View {
        Group {
            if model.enrolment == nil {
                EnrolView(model: model)
            } else {
                TabView {
                    IncidentsView(model: model).tabItem { Label("Incidents", systemImage: "flame") }
                    ReadinessView(model: model).tabItem { Label("Ready?", systemImage: "checkmark.shield") }
                }
            }
        }
        .alert(model.message ?? "", isPresented: Binding(get: { model.message != nil }, set: { if !$0 { model.message = nil } })) {
            Button("OK") { model.message = nil }
        }
    }
}

struct IncidentsView: View {
    @ObservedObject var model: Model

    var body: some View {
        NavigationStack {
            List {
                if model.inbox.list.isEmpty { Text("Nothing is wrong that this phone knows of.") }
                ForEach(model.inbox.list) { incident in
                    NavigationLink {
                        IncidentView(model: model, incident: incident)
                    } label: {
                        IncidentRow(incident: incident)
                    }
                }
            }
            .navigationTitle("Incidents")
            .refreshable { await refresh() }
        }
    }

    private func refresh() async { model.refresh() }
}

struct IncidentRow: View {
    let incident: Incident

    var body: some View {
        VStack(alignment: .leading) {
            Text(incident.drill ? "DRILL \(incident.title)" : incident.title).font(.headline)
            Text(incident.summary).font(.subheadline)
            Text(state).font(.caption)
        }
    }

    private var state: String {
        let who = incident.acknowledgedBy.map { "\($0) has it" }
        return [incident.severity, incident.receiver, incident.ending ?? who ?? "rings"].joined(separator: " · ")
    }
}
