# fish completion for minirun
function __minirun_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l lines ($words[1] __complete $words[2..-1] 2>/dev/null)
    switch "$lines[1]"
        case files
            __fish_complete_path (commandline -ct)
        case directories
            __fish_complete_directories (commandline -ct)
        case '*'
            string join \n -- $lines[2..-1]
    end
end
complete -c minirun -f -a '(__minirun_complete)'
