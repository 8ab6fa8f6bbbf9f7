# Completion for fish: the command itself knows what may stand on its line.
function __tenon_complete
	set -l words (commandline -opc)
	set -l found ($words[1] complete -- $words[2..] (commandline -ct | string unescape) 2>/dev/null)
	if test (count $found) -gt 0
		printf '%s\n' $found
	else
		__fish_complete_path (commandline -ct)
	end
end
complete -c tenon -f -a '(__tenon_complete)'
