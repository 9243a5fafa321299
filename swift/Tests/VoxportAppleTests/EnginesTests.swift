import Foundation
import Testing
import VoxportCoreML

@Suite struct WhereComponentsCompute {
    @Test func inTheBackgroundEverythingIsOnTheProcessorAndNothingElseIsTried() {
        let cache = FileManager.default.temporaryDirectory
        let engines = CoreMLEngines(
            units: .all, unitsByComponent: ["generator": .cpuAndNeuralEngine], fallbacks: [.cpuAndGPU], cache: cache)
        let behind = engines.inBackground
        #expect(behind.units == .cpu)
        #expect(behind.unitsByComponent.isEmpty && behind.fallbacks.isEmpty)
        #expect(engines.units == .all, "what was there before stays as it was")
    }
}
