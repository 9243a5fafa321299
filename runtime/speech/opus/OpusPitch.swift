import Foundation

/// opus's detector of pitch for the Swift package: its weights are the file beside this one, which Python reads too.
public enum OpusPitch {
    /// The file of weights; nil where the program was parted from the package's resources.
    public static var weights: URL? { Bundle.module.url(forResource: "pitch", withExtension: "npz") }
}
