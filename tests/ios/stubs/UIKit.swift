// The part of Apple's UIKit that the app uses, as its documentation declares it; nothing works.
@_exported import Foundation

open class UIResponder: NSObject {}
public struct CGRect {}
open class CALayer: NSObject {
    public override init() {}
    public var frame = CGRect()
    public func addSublayer(_ layer: CALayer) {}
}
public class UIView: UIResponder {
    public var bounds: CGRect { CGRect() }
    public var layer: CALayer { CALayer() }
}
open class UIViewController: UIResponder {
    public init(nibName: String?, bundle: Bundle?) {}
    public required init?(coder: NSCoder) {}
    public var view: UIView! { nil }
    open func viewDidLoad() {}
    open func viewDidDisappear(_ animated: Bool) {}
}
public struct UIBackgroundTaskIdentifier: Sendable {
    public static let invalid = UIBackgroundTaskIdentifier()
}
@MainActor public class UIDevice: NSObject {
    nonisolated public static let current: UIDevice = { fatalError() }()
    public var name: String { "" }
    nonisolated public var systemVersion: String { "" }
}
public class UIApplication: UIResponder {
    public struct LaunchOptionsKey: Hashable {}
    public static var shared: UIApplication { fatalError() }
    public func registerForRemoteNotifications() {}
    public func beginBackgroundTask(
        withName name: String?, expirationHandler: (@MainActor @Sendable () -> Void)? = nil
    ) -> UIBackgroundTaskIdentifier { .invalid }
    public func endBackgroundTask(_ identifier: UIBackgroundTaskIdentifier) {}
}
public protocol UIApplicationDelegate: NSObjectProtocol {
    func application(
        _ application: UIApplication, didFinishLaunchingWithOptions options: [UIApplication.LaunchOptionsKey: Any]?
    ) -> Bool
    func applicationProtectedDataDidBecomeAvailable(_ application: UIApplication)
    func application(_ application: UIApplication, didRegisterForRemoteNotificationsWithDeviceToken deviceToken: Data)
    func application(_ application: UIApplication, didFailToRegisterForRemoteNotificationsWithError error: Error)
}
