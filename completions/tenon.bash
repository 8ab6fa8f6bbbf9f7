# Completion for bash: the command itself knows what may stand on its line.
_tenon() {
	local line=${COMP_LINE:0:COMP_POINT} word split= candidate
	local -a words
	read -ra words <<<"$line"
	[[ $line == *[[:space:]] ]] && words+=("")
	word=${words[-1]}
	if [[ $word == [\"\']* ]]; then
		word=${word:1} # bash does not split what is quoted
	else
		split=${word%"${word##*[:=&]}"} # bash has split the word there (COMP_WORDBREAKS)
	fi
	words[-1]=$word
	COMPREPLY=()
	while IFS=$'\t' read -r candidate _; do
		COMPREPLY+=("${candidate#"$split"}")
	done < <("${words[0]}" complete -- "${words[@]:1}" 2>/dev/null)
	[[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=:/] ]] && compopt -o nospace
}
complete -o default -F _tenon tenon
