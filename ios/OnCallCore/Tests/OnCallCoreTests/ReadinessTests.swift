import XCTest

@testable import OnCallCore

final class ReadinessTests: XCTestCase {
    private func ready() -> Facts {
        var facts = Facts()
        facts.enrolled = true
        facts.notifications = .allowed
        facts.criticalAlerts = .allowed
        facts.timeSensitive = .allowed
        facts.hasVoIPToken = true
        facts.hasAlertToken = true
        facts.kid = "0f"
        facts.lastDrillAt = now.addingTimeInterval(-86400)
        facts.device = Device(json(#"{"would_ring": true, "troubles": [], "kid": "0f"}"#))
        return facts
    }

    private func wrong(_ change: (inout Facts) -> Void) -> [String] {
        var facts = ready()
        change(&facts)
        return Readiness.checks(facts, now: now).filter { $0.verdict != .good }.map(\.id)
    }

    func testAPhoneThatIsReadyHasNothingButTheFocusToMind() {
        XCTAssertEqual(wrong { _ in }, ["focus"])
    }

    func testEachThingThatIsMissingIsNamed() {
        XCTAssertEqual(wrong { $0.enrolled = false }, ["enrolled"])
        XCTAssertEqual(wrong { $0.hasVoIPToken = false }, ["voip", "focus"])
        XCTAssertEqual(wrong { $0.notifications = .refused }, ["notifications", "focus"])
        XCTAssertEqual(wrong { $0.criticalAlerts = .notAsked }, ["critical", "focus"])
        XCTAssertEqual(wrong { $0.kid = nil }, ["key", "focus"])
        XCTAssertEqual(wrong { $0.device?.keyID = nil }, ["key", "focus"])
        XCTAssertEqual(wrong { $0.device?.keyID = "aa" }, ["key", "focus"])
        XCTAssertEqual(wrong { $0.lastDrillAt = now.addingTimeInterval(-9 * 86400) }, ["focus", "drill"])
        XCTAssertEqual(wrong { $0.device = nil }, ["focus", "bridge"])
        XCTAssertEqual(
            wrong { $0.device = Device(json(#"{"would_ring": false, "troubles": ["no VoIP token"], "kid": "0f"}"#)) },
            ["focus", "trouble 0", "bridge"]
        )
    }
}
