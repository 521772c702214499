# Made by 'cargo xtask docs': do not edit.
_mortis_info() {
    case $before in
        --snapshot) COMPREPLY=(); return ;;
        --layout) COMPREPLY=(); return ;;
    esac
    case $word in
        -*) mapfile -t COMPREPLY < <(compgen -W '--json --search --snapshot --layout -h --help' -- "$word") ;;
        *) mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
    esac
}
_mortis_convert() {
    case $before in
        --format) mapfile -t COMPREPLY < <(compgen -W 'elf kdump flattened raw lime' -- "$word"); return ;;
        --codec) mapfile -t COMPREPLY < <(compgen -W 'zlib lzo snappy zstd none' -- "$word"); return ;;
        --level) COMPREPLY=(); return ;;
        --snapshot) COMPREPLY=(); return ;;
        --layout) COMPREPLY=(); return ;;
    esac
    case $word in
        -*) mapfile -t COMPREPLY < <(compgen -W '--format --codec --level --force --json --snapshot --layout -h --help' -- "$word") ;;
        *) mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
    esac
}
_mortis_help() {
    case $before in
    esac
    case $word in
        -*) mapfile -t COMPREPLY < <(compgen -W '--json -h --help' -- "$word") ;;
        *) mapfile -t COMPREPLY < <(compgen -W 'info convert help alias ascii blk bpf bt btop cgroup dev dis eval exit extend files foreach fuser gcore gdb help ipcs irq kmem list log mach mod mount net p pagecache ps pte ptob ptov q rd repeat runq rustfilt sbitmapq search set sig struct swap sym sys task timer trace tree union ustack vm vtop waitq whatis wr' -- "$word") ;;
    esac
}
_mortis() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
    [ "$COMP_CWORD" -gt 1 ] && case ${COMP_WORDS[1]} in
        info) _mortis_info; return ;;
        convert) _mortis_convert; return ;;
        help) _mortis_help; return ;;
    esac
    case $before in
        -c|--command) COMPREPLY=(); return ;;
        -i|--input) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        --color) mapfile -t COMPREPLY < <(compgen -W 'auto always never' -- "$word"); return ;;
        --snapshot) COMPREPLY=(); return ;;
        --layout) COMPREPLY=(); return ;;
        -h|--help) mapfile -t COMPREPLY < <(compgen -W 'alias ascii blk bpf bt btop cgroup dev dis eval exit extend files foreach fuser gcore gdb help ipcs irq kmem list log mach mod mount net p pagecache ps pte ptob ptov q rd repeat runq rustfilt sbitmapq search set sig struct swap sym sys task timer trace tree union ustack vm vtop waitq whatis wr' -- "$word"); return ;;
        -e|--edit) mapfile -t COMPREPLY < <(compgen -W 'emacs vi' -- "$word"); return ;;
        --mod) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
        --src) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
        --offline) mapfile -t COMPREPLY < <(compgen -W 'show hide' -- "$word"); return ;;
    esac
    case $word in
        -*) mapfile -t COMPREPLY < <(compgen -W '-c --command -i --input -s --silent --json --color --snapshot --layout --no-btf --no-rc -h --help -V --version -e --edit --hex --dec --no_scroll --less --more --CRASHPAGER --no_crashrc --mod --src --offline --osrelease --log --build-id -t --timestamp' -- "$word") ;;
        *) mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
    esac
    [ "$COMP_CWORD" -eq 1 ] && COMPREPLY+=($(compgen -W 'info convert help' -- "$word"))
    return 0
}
complete -o filenames -F _mortis mortis
