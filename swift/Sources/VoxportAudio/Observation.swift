#if os(iOS) || VOXPORT_FAKE_IOS
    import Foundation

    /// Calls a body for each notification of a name, until it is let go.
    final class Observation {
        private let token: any NSObjectProtocol

        init(_ name: Notification.Name, of object: Any? = nil, _ body: @escaping @Sendable (Notification) -> Void) {
            token = NotificationCenter.default.addObserver(forName: name, object: object, queue: nil, using: body)
        }

        deinit { NotificationCenter.default.removeObserver(token) }
    }
#endif
