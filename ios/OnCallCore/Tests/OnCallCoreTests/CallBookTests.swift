import XCTest

@testable import OnCallCore

final class CallBookTests: XCTestCase {
    private var book = CallBook()
    private let shared = makeRecord()
    private let late = now.addingTimeInterval(31)

    override func setUp() { book = CallBook() }

    /// A call that CallKit shows; its receipt has been posted.
    private func ring(_ push: Reading = makePush(), code: Int? = nil) -> [CallBook.Command] {
        let commands = book.arrived(push, now: now, spare: spare)
        guard commands.count == 1, case .report(let ticket, _, _) = commands[0] else {
            XCTFail("not one report: \(commands)")
            return []
        }
        return book.reported(ticket: ticket, errorCode: code, now: now)
    }

    func testACallThatIsShownIsReceivedAndListensUntilItsDeadline() {
        XCTAssertEqual(ring(), [.post(shared, .received, errorCode: nil)])
        XCTAssertTrue(book.listens)
        XCTAssertEqual(book.nextDeadline, now.addingTimeInterval(30))
        XCTAssertEqual(book.tick(now: now.addingTimeInterval(29.9)), [])
        XCTAssertEqual(book.tick(now: now.addingTimeInterval(30)), [.end(callUUID, .unanswered)])
        XCTAssertEqual(book.tick(now: late), [])
        XCTAssertFalse(book.listens)
        XCTAssertNil(book.nextDeadline)
    }

    func testAnAnswerIsPostedOnceAndReadAloudInTheCallsAudio() {
        _ = ring()
        XCTAssertEqual(book.answer(callUUID), [.post(shared, .answered, errorCode: nil)])
        XCTAssertEqual(book.answer(callUUID), [])
        XCTAssertEqual(book.audioActivated(), [.speak(callUUID, "CRITICAL DiskFull. platform: Disk full on i1.")])
        XCTAssertEqual(book.audioActivated(), [])
        XCTAssertEqual(book.tick(now: late), [], "an answered call does not end at the deadline")
        XCTAssertEqual(book.spoke(callUUID), [.end(callUUID, .remoteEnded)])
        XCTAssertEqual(book.spoke(callUUID), [])
    }

    func testHangingUpBeforeAnsweringDeclinesAndAfterwardsSaysNothing() {
        _ = ring()
        XCTAssertEqual(book.hangUp(callUUID), [.post(shared, .declined, errorCode: nil)])
        XCTAssertEqual(book.hangUp(callUUID), [])
        book = CallBook()
        _ = ring()
        _ = book.answer(callUUID)
        XCTAssertEqual(book.hangUp(callUUID), [])
        XCTAssertFalse(book.listens)
    }

    func testARefusalOfCallKitIsPostedWithItsCode() {
        for code in [0, 1, 3, 4] {
            book = CallBook()
            XCTAssertEqual(ring(code: code), [.post(shared, .failed, errorCode: code)])
            XCTAssertFalse(book.listens)
            XCTAssertEqual(book.answer(callUUID), [])
        }
    }

    func testARepeatedPushIsNoSecondRingAndTheFirstGoesOn() {
        _ = ring()
        XCTAssertEqual(ring(code: 2), [.post(shared, .failed, errorCode: 2)])
        XCTAssertEqual(book.answer(callUUID), [.post(shared, .answered, errorCode: nil)])
        XCTAssertEqual(ring(code: 2), [.post(shared, .failed, errorCode: 2)])
    }

    func testARepeatedPushBeforeCallKitAnsweredTheFirstRingsOnce() {
        let first = book.arrived(makePush(), now: now, spare: spare)
        let second = book.arrived(makePush(), now: now, spare: spare)
        XCTAssertEqual(first + second, [
            .report(ticket: 1, uuid: callUUID, name: "CRITICAL DiskFull"),
            .report(ticket: 2, uuid: callUUID, name: "CRITICAL DiskFull"),
        ])
        XCTAssertEqual(book.reported(ticket: 1, errorCode: nil, now: now), [.post(shared, .received, errorCode: nil)])
        XCTAssertEqual(book.reported(ticket: 2, errorCode: 2, now: now), [.post(shared, .failed, errorCode: 2)])
        XCTAssertEqual(book.reported(ticket: 2, errorCode: 2, now: now), [], "a ticket is taken once")
    }

    func testASecondBridgesRecordJoinsTheCallAndIsToldWhatHappened() {
        _ = ring()
        let other = makeRecord("other")
        XCTAssertEqual(ring(makePush("other"), code: 2), [.post(other, .received, errorCode: nil)])
        XCTAssertEqual(book.answer(callUUID), [
            .post(shared, .answered, errorCode: nil), .post(other, .answered, errorCode: nil),
        ])
        let third = makeRecord("third")
        XCTAssertEqual(ring(makePush("third"), code: 2), [
            .post(third, .received, errorCode: nil), .post(third, .answered, errorCode: nil),
        ])
    }

    func testARingEndsOnceNoBridgeWantsItAnyMore() {
        _ = ring()
        _ = ring(makePush("other"), code: 2)
        XCTAssertEqual(book.ended(callID: callID, reason: "acknowledged"), [])
        XCTAssertEqual(book.ended(callID: "other", reason: "resolved"), [.end(callUUID, .answeredElsewhere)])
        XCTAssertEqual(book.answer(callUUID), [])
    }

    func testTheReasonOfAnEndIsWhatTheBridgeSaid() {
        for (reason, end) in [("acknowledged", EndReason.answeredElsewhere), ("resolved", .remoteEnded), ("withdrawn", .remoteEnded), ("new", .remoteEnded)] {
            book = CallBook()
            _ = ring()
            XCTAssertEqual(book.ended(callID: callID, reason: reason), [.end(callUUID, end)])
        }
    }

    func testACallThatIsOverAlreadyIsReportedAndEnded() {
        _ = book.ended(callID: callID, reason: "acknowledged")
        XCTAssertEqual(ring(), [.end(callUUID, .answeredElsewhere)])
        XCTAssertFalse(book.listens)
    }

    func testACallThatEndsWhileCallKitIsAskedEndsWhenCallKitAnswers() {
        let commands = book.arrived(makePush(), now: now, spare: spare)
        XCTAssertEqual(commands.count, 1)
        XCTAssertEqual(book.ended(callID: callID, reason: "resolved"), [])
        XCTAssertEqual(book.reported(ticket: 1, errorCode: nil, now: now), [
            .post(shared, .received, errorCode: nil), .end(callUUID, .remoteEnded),
        ])
    }

    func testACallThatCallKitShowsAfterItsDeadlineEndsAtOnce() {
        _ = book.arrived(makePush(), now: now, spare: spare)
        XCTAssertEqual(book.reported(ticket: 1, errorCode: nil, now: late), [
            .post(shared, .received, errorCode: nil), .end(callUUID, .unanswered),
        ])
    }

    func testWordThatTheOwnAnswerEndedItDoesNotCutTheSpeech() {
        _ = ring()
        _ = book.answer(callUUID)
        XCTAssertEqual(book.ended(callID: callID, reason: "acknowledged"), [])
        XCTAssertTrue(book.listens)
    }

    func testAStaleOrMalformedPushNeverEndsACallThatIsUp() {
        _ = ring()
        XCTAssertEqual(ring(makePush(seconds: -5), code: 2), [])
        XCTAssertEqual(ring(.malformed(why: "", uuid: callUUID, name: nil), code: 2), [])
        XCTAssertEqual(book.calls[callUUID]?.state, .ringing)
    }

    func testACallWhoseBridgeWaitsForNoReceiptPostsNone() {
        XCTAssertEqual(ring(makePush(receipts: false)), [])
        XCTAssertEqual(book.answer(callUUID), [])
        XCTAssertEqual(book.calls[callUUID]?.state, .answered)
    }

    func testWhatNeedNotBeReportedIsLeftAloneOnlyWhereItWouldNotRing() {
        for dead in [makePush(seconds: -1), .malformed(why: "", uuid: nil, name: nil)] {
            XCTAssertEqual(book.arrived(dead, now: now, spare: spare, mustReport: false), [])
        }
        let ring = CallBook.Command.report(ticket: 1, uuid: callUUID, name: "CRITICAL DiskFull")
        XCTAssertEqual(book.arrived(makePush(), now: now, spare: spare, mustReport: false), [ring])
    }

    func testANewRingWithAUuidThatIsOverRingsAgain() {
        _ = ring()
        _ = book.hangUp(callUUID)
        XCTAssertEqual(ring(), [.post(shared, .received, errorCode: nil)])
        XCTAssertEqual(book.calls[callUUID]?.state, .ringing)
    }

    func testAResetOfCallKitLeavesNoCallAndPostsNothing() {
        _ = ring()
        book.reset()
        XCTAssertFalse(book.listens)
        XCTAssertEqual(book.tick(now: late), [])
    }

    func testEveryPushIsReportedExactlyOnceWhateverCameBefore() {
        let pushes = [
            makePush(), makePush(), makePush("other"), makePush(seconds: -1), makePush(uuid: spare),
            .malformed(why: "", uuid: nil, name: nil), .malformed(why: "", uuid: callUUID, name: "x"),
        ]
        var dice = SystemRandomNumberGenerator()
        for _ in 0..<200 {
            book = CallBook()
            for _ in 0..<20 {
                let push = pushes.randomElement(using: &dice)!
                let commands = book.arrived(push, now: now, spare: UUID())
                guard commands.count == 1, case .report(let ticket, _, _) = commands[0] else {
                    return XCTFail("\(push): \(commands)")
                }
                _ = book.reported(ticket: ticket, errorCode: [nil, nil, 2, 3].randomElement(using: &dice)!, now: now)
                if Bool.random(using: &dice) { _ = book.answer(callUUID) }
                if Bool.random(using: &dice) { _ = book.hangUp(callUUID) }
                if Bool.random(using: &dice) { _ = book.ended(callID: callID, reason: "resolved") }
            }
        }
    }
}
