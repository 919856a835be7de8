#compdef minirun
compdef _minirun minirun

_minirun() {
  local line then word
  local -a lines shown options
  lines=("${(@f)$(${~words[1]} __complete "${(@)words[2,CURRENT-1]}" "$PREFIX" 2>/dev/null)}")
  then=$lines[1]
  case $then in
    files | directories)
      [[ $PREFIX != --*=* ]] || compset -P '*='
      [[ $then = files ]] && _files || _files -/
      return ;;
    more) options=(-S '') ;;
  esac
  for line in "${(@)lines[2,-1]}"; do
    word=${line%%$'\t'*}
    shown+=("${word//:/\\:}${${(M)line:#*$'\t'*}:+:${line#*$'\t'}}")
  done
  (( $#shown )) && _describe minirun shown "${(@)options}"
}

# as a file of $fpath it is called when it is loaded
if [[ $funcstack[1] = _minirun ]]; then _minirun; fi
