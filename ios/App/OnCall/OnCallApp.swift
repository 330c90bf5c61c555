import SwiftUI
import UIKit

@main
struct OnCallApp: App {
    @UIApplicationDelegateAdaptor(AppDelegate.self) private var delegate
    @Environment(\.scenePhase) private var phase

    var body: some Scene {
        WindowGroup {
            ContentView(model: delegate.model)
                .onChange(of: phase) { _, new in delegate.model.awake(new == .active) }
        }
    }
}

/// PushKit launches the app in the background, without a scene: what a call needs is made here.
final class AppDelegate: NSObject, UIApplicationDelegate {
    let model = Model()

    func application(
        _ application: UIApplication, didFinishLaunchingWithOptions options: [UIApplication.LaunchOptionsKey: Any]? = nil
    ) -> Bool {
        model.start()
        application.registerForRemoteNotifications()
        return true
    }

    func applicationProtectedDataDidBecomeAvailable(_ application: UIApplication) { model.unlocked() }

    func application(_ application: UIApplication, didRegisterForRemoteNotificationsWithDeviceToken token: Data) {
        model.alertToken(token)
    }

    func application(_ application: UIApplication, didFailToRegisterForRemoteNotificationsWithError error: Error) {
        model.say("iOS gave no token for notifications: \(error.localizedDescription)")
    }
}
