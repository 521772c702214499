# Made by 'cargo xtask docs': do not edit.
_mortis() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
    case $before in
        -c|--command) COMPREPLY=(); return ;;
        -i|--input) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        --color) mapfile -t COMPREPLY < <(compgen -W 'auto always never' -- "$word"); return ;;
        -h|--help) mapfile -t COMPREPLY < <(compgen -W 'alias bt dev dis exit extend files foreach fuser gcore gdb help irq kmem log mod mount net p pagecache ps q rd runq repeat set sig struct union swap sym sys timer task vm vtop whatis wr' -- "$word"); return ;;
        -e|--edit) mapfile -t COMPREPLY < <(compgen -W 'emacs vi' -- "$word"); return ;;
        --mod) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
        --src) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
        --offline) mapfile -t COMPREPLY < <(compgen -W 'show hide' -- "$word"); return ;;
    esac
    case $word in
        -*) mapfile -t COMPREPLY < <(compgen -W '-c --command -i --input -s --silent --json --color --no-btf --no-rc -h --help -V --version -e --edit --hex --dec --no_scroll --less --more --CRASHPAGER --no_crashrc --mod --src --offline --osrelease --log --build-id -t --timestamp' -- "$word") ;;
        *) mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
    esac
}
complete -o filenames -F _mortis mortis
