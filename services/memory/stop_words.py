"""Words of a query that say nothing about what is looked for, in English and Russian."""

from __future__ import annotations

_ENGLISH = """
a about after again all also am an and any are aren't as at be because been before being both but by can can't could
couldn't did didn't do does doesn't doing don't during each few for from further had hadn't has hasn't have haven't
having he he's her here hers herself him himself his how how's i i'd i'll i'm i've if in into is isn't it it's its
itself just me mine my myself no nor not of off on once only or other our ours out over own same she she's should
shouldn't so some such than that that's the their theirs them then there there's these they they're this those through
to too under until up us very was wasn't we we're were weren't what what's when when's where where's which while who
who's whom whose why why's will with won't would wouldn't you you're your yours yourself
"""
_RUSSIAN = """
а без бы был была были было быть в вам вас ваш ваша ваше ваши во вот все всего всех вы где да для до его ее если есть
еще же за здесь и из или им их к как какая какие какими каких какого какое какой каком какому какую ко когда кого
кому кто куда ли либо мне мной мной мое моего моей мои моих мой моя мы на над нам нами нас наш наша наше наши не него
нее ней нем нет ни ним них но ну о об он она они оно от откуда очень по под почему при про с сам сама свой своего своей
свои своих свою своя со так такая такие такой там тебе тебя тем то того той только том тот ту тут ты у уже чего чей
чем чему что чтобы чья эта эти этим этих это этого этой этом этот эту я
"""

STOP_WORDS = frozenset(_ENGLISH.split()) | frozenset(_RUSSIAN.split())
"""As `terms.words` gives them: in lower case, ё as е."""
