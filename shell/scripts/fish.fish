# Completion of voxport for fish: voxport completion fish | source
function __voxport_candidates
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    $before[1] complete -- $before[2..-1] "$current" 2> /dev/null
end
complete -c voxport -a '(__voxport_candidates)'
