# bash completion for minirun: source it, or put it where bash-completion looks
_minirun() {
  local line=${COMP_LINE:0:COMP_POINT} words=() lines=() word sign i
  for ((i = 0; i <= COMP_CWORD; i++)); do
    # bash ends a word at `=` and `:`; for minirun it goes on to the next blank
    if [[ $i = 0 || $line = [[:space:]]* ]]; then words+=(""); fi
    line=${line#"${line%%[![:space:]]*}"}
    word=${line:0:${#COMP_WORDS[i]}}
    line=${line:${#word}}
    words[${#words[@]}-1]+=$word
  done
  mapfile -t lines < <("${words[0]/#\~\//$HOME/}" __complete "${words[@]:1}" 2>/dev/null)
  COMPREPLY=("${lines[@]:1}")
  COMPREPLY=("${COMPREPLY[@]%%$'\t'*}")
  # and takes no more than what follows that sign
  word=${words[${#words[@]}-1]}
  for sign in = :; do
    if [[ $COMP_WORDBREAKS = *$sign* && $word = *$sign* ]]; then
      COMPREPLY=("${COMPREPLY[@]#"${word%"$sign"*}$sign"}")
      word=${word##*"$sign"}
    fi
  done
  case ${lines[0]-} in
    more) compopt -o nospace ;;
    files) compopt -o default ;;
    directories) compopt -o dirnames ;;
  esac 2>/dev/null
}
complete -F _minirun minirun
