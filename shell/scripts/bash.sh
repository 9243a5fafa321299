# Completion of voxport for bash: source <(voxport completion bash)
_voxport() {
    local line="${COMP_LINE:0:COMP_POINT}" word
    local -a words
    read -ra words <<< "$line"
    [[ "$line" == *[[:space:]] ]] && words+=("")
    # bash replaces what follows the last = or : of the word
    local current="${words[${#words[@]} - 1]}"
    local kept="${current%"${current##*[=:]}"}"
    COMPREPLY=()
    while IFS= read -r word; do
        COMPREPLY+=("${word#"$kept"}")
    done < <("${words[0]}" complete -- "${words[@]:1}" 2> /dev/null)
    [[ ${#COMPREPLY[@]} -eq 1 && "${COMPREPLY[0]}" == *= ]] && compopt -o nospace 2> /dev/null
    return 0
}
complete -o default -F _voxport voxport
