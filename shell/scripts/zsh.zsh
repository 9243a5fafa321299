#compdef voxport
# Completion of voxport for zsh, after compinit: source <(voxport completion zsh)
_voxport() {
    local -a candidates open
    candidates=("${(@f)$("${words[1]}" complete -- "${(@)words[2,CURRENT]}" 2> /dev/null)}")
    candidates=(${candidates:#})
    if (( ! ${#candidates} )); then
        compset -P '*='
        _files
        return
    fi
    open=(${(M)candidates:#*=})
    candidates=(${candidates:#*=})
    (( ${#open} )) && compadd -S '' -- $open
    (( ${#candidates} )) && compadd -- $candidates
    return 0
}
compdef _voxport voxport
