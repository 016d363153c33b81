"""The words for the attributes of the synthetic corpora.

Every value has a list of words, which all splits share: what a split keeps to itself are its templates, voices
and sentences.

A frame makes a part of a sentence of a word: {an} is the word with its article, {word} the word alone,
{own} a possessive or "the", {pronoun} who speaks. Frames are grouped by their head, so that no caption says
"voice" twice, and by the kind of word they take.
"""

# Kinds of word: adjectives of the attribute, adjectives of the voice that has it, adverbs.
WORDS = {
    "adjective": {
        "pitch": {
            "low": ("low", "deep", "lowered", "rather low", "very deep", "rather deep", "notably low"),
            "normal": ("medium", "normal", "average", "moderate", "mid-range", "ordinary", "middling"),
            "high": ("high", "raised", "elevated", "rather high", "very high", "notably high", "heightened"),
        },
        "speed": {
            "slow": ("slow", "unhurried", "leisurely", "sluggish", "plodding", "dragging", "rather slow"),
            "normal": ("moderate", "normal", "steady", "average", "regular", "ordinary", "medium"),
            "fast": ("fast", "quick", "rapid", "brisk", "hurried", "rather fast", "swift"),
        },
        "volume": {
            "low": ("low", "soft", "reduced", "rather low", "very low", "notably low", "subdued"),
            "normal": ("normal", "moderate", "medium", "average", "standard", "ordinary", "middling"),
            "high": ("high", "loud", "powerful", "rather high", "very high", "notably high", "very loud"),
        },
        "emotion": {
            "neutral": (
                "neutral",
                "even",
                "unemotional",
                "matter-of-fact",
                "impassive",
                "detached",
                "composed",
            ),
            "happy": ("happy", "cheerful", "joyful", "delighted", "merry", "glad", "jolly"),
            "sad": ("sad", "sorrowful", "mournful", "gloomy", "unhappy", "dejected", "melancholy"),
            "angry": ("angry", "furious", "irate", "enraged", "cross", "indignant", "wrathful"),
            "fearful": ("fearful", "frightened", "scared", "anxious", "terrified", "panicky", "alarmed"),
            "surprised": (
                "surprised",
                "astonished",
                "amazed",
                "startled",
                "stunned",
                "dumbfounded",
                "astounded",
            ),
            "disgusted": (
                "disgusted",
                "revolted",
                "repelled",
                "sickened",
                "nauseated",
                "repulsed",
                "appalled",
            ),
        },
    },
    "of voice": {
        "pitch": {
            "low": ("deep", "low-pitched", "low-toned", "bass", "dark-pitched", "deep-pitched", "deep-set"),
            "normal": (
                "medium-pitched",
                "normally pitched",
                "moderately pitched",
                "mid-pitched",
                "middle-pitched",
                "mid-range",
                "mid-toned",
            ),
            "high": ("high-pitched", "high", "high-toned", "shrill", "piping", "treble", "highly pitched"),
        },
        "volume": {
            "low": ("quiet", "soft", "faint", "hushed", "low-volume", "muted", "subdued"),
            "high": ("loud", "powerful", "strong", "booming", "forceful", "resounding", "thunderous"),
        },
        "texture": {
            "modal": ("clear", "plain", "full", "unbroken", "regular", "ordinary", "natural"),
            "whispered": (
                "whispered",
                "whispering",
                "voiceless",
                "whispery",
                "toneless",
                "unvoiced",
                "murmured",
            ),
            "creaky": ("creaky", "rough", "gravelly", "raspy", "croaky", "grating", "hoarse"),
            "breathy": ("breathy", "airy", "breath-filled", "aspirated", "breath-laden", "windy", "sighing"),
        },
    },
    "adverb": {
        "speed": {
            "slow": (
                "slowly",
                "unhurriedly",
                "sluggishly",
                "without haste",
                "leisurely",
                "lazily",
                "rather slowly",
            ),
            "normal": (
                "at normal speed",
                "neither fast nor slowly",
                "at ordinary speed",
                "at medium speed",
                "steadily",
                "at average speed",
                "moderately fast",
            ),
            "fast": ("quickly", "rapidly", "fast", "hurriedly", "briskly", "speedily", "swiftly"),
        },
        "volume": {
            "low": (
                "quietly",
                "softly",
                "faintly",
                "very quietly",
                "at low volume",
                "barely audibly",
                "rather quietly",
            ),
            "normal": (
                "at normal volume",
                "neither loudly nor quietly",
                "at medium volume",
                "at ordinary volume",
                "at moderate volume",
                "at average volume",
                "at a usual volume",
            ),
            "high": (
                "loudly",
                "powerfully",
                "very loudly",
                "forcefully",
                "at high volume",
                "at full volume",
                "noisily",
            ),
        },
        "emotion": {
            "neutral": (
                "without emotion",
                "neutrally",
                "evenly",
                "impassively",
                "without much feeling",
                "dispassionately",
                "with composure",
            ),
            "happy": ("happily", "cheerfully", "joyfully", "merrily", "with delight", "gladly", "with joy"),
            "sad": (
                "sadly",
                "sorrowfully",
                "mournfully",
                "gloomily",
                "with sadness",
                "unhappily",
                "with sorrow",
            ),
            "angry": (
                "angrily",
                "furiously",
                "irately",
                "crossly",
                "with anger",
                "with rage",
                "with indignation",
            ),
            "fearful": (
                "fearfully",
                "anxiously",
                "with fear",
                "nervously",
                "in fright",
                "with dread",
                "in terror",
            ),
            "surprised": (
                "with surprise",
                "in astonishment",
                "in surprise",
                "with amazement",
                "in amazement",
                "in wonder",
                "with astonishment",
            ),
            "disgusted": (
                "with disgust",
                "in disgust",
                "with revulsion",
                "with repulsion",
                "with distaste",
                "with loathing",
                "in revulsion",
            ),
        },
        "texture": {
            "whispered": (
                "in a whisper",
                "whispering",
                "under the breath",
                "in whispers",
                "without voice",
                "in an undertone",
                "with a whisper",
            ),
        },
    },
}

# Slot -> attribute -> head -> kind of word and frames.
FRAMES = {
    "phrases": {
        "pitch": {
            "pitch": ("adjective", ("with {an} pitch", "at {an} pitch")),
            "register": ("adjective", ("in {an} register",)),
            "voice": ("of voice", ("in {an} voice", "with {an} voice")),
        },
        "speed": {
            "pace": ("adjective", ("at {an} pace",)),
            "tempo": ("adjective", ("at {an} tempo",)),
            "rate": ("adjective", ("at {an} rate",)),
            "speed": ("adverb", ("{word}",)),
        },
        "volume": {
            "volume": ("adjective", ("at {an} volume", "with {an} volume")),
            "loudness": ("adverb", ("{word}",)),
            "voice": ("of voice", ("in {an} voice",)),
        },
        "emotion": {
            "tone": ("adjective", ("in {an} tone",)),
            "manner": ("adjective", ("in {an} manner",)),
            "mood": ("adjective", ("in {an} mood",)),
            "feeling": ("adverb", ("{word}",)),
        },
        "texture": {
            "voice": ("of voice", ("in {an} voice", "with {an} voice")),
            "timbre": ("of voice", ("with {an} timbre",)),
            "quality": ("of voice", ("with {an} vocal quality",)),
            "whisper": ("adverb", ("{word}",)),
        },
    },
    "clauses": {
        "pitch": {
            "pitch": ("adjective", ("{own} pitch is {word}", "{own} pitch stays {word}")),
            "register": ("adjective", ("{own} register is {word}",)),
            "voice": ("of voice", ("{own} voice is {word}", "{own} voice sounds {word}")),
        },
        "speed": {
            "pace": ("adjective", ("{own} pace is {word}", "{own} pace remains {word}")),
            "delivery": ("adjective", ("{own} delivery is {word}",)),
            "tempo": ("adjective", ("{own} tempo is {word}",)),
        },
        "volume": {
            "volume": ("adjective", ("{own} volume is {word}", "{own} volume stays {word}")),
            "voice": ("of voice", ("{own} voice is {word}",)),
            "speech": ("of voice", ("{own} speech is {word}",)),
        },
        "emotion": {
            "tone": ("adjective", ("{own} tone is {word}", "{own} tone seems {word}")),
            "mood": ("adjective", ("{own} mood is {word}",)),
            "sounds": ("adjective", ("{pronoun} sounds {word}",)),
        },
        "texture": {
            "voice": ("of voice", ("{own} voice is {word}", "{own} voice sounds {word}")),
            "timbre": ("of voice", ("{own} timbre is {word}",)),
        },
    },
    "nouns": {
        "pitch": {
            "pitch": ("adjective", ("{an} pitch",)),
            "register": ("adjective", ("{an} register",)),
            "voice": ("of voice", ("{an} voice",)),
        },
        "speed": {
            "pace": ("adjective", ("{an} pace",)),
            "tempo": ("adjective", ("{an} tempo",)),
            "rate": ("adjective", ("{an} speaking rate",)),
        },
        "volume": {"volume": ("adjective", ("{an} volume", "{an} volume level"))},
        "emotion": {
            "tone": ("adjective", ("{an} tone",)),
            "mood": ("adjective", ("{an} mood",)),
            "expression": ("adjective", ("{an} expression",)),
        },
        "texture": {
            "voice": ("of voice", ("{an} voice",)),
            "timbre": ("of voice", ("{an} timbre",)),
            "quality": ("of voice", ("{an} vocal quality",)),
        },
    },
}

# Who speaks, by the sex and the age that are named. In a corpus that knows ages "man" would name one.
PERSONS = {
    ("female", "child"): (
        "a girl",
        "a little girl",
        "a young girl",
        "a small girl",
        "a schoolgirl",
        "a female child",
    ),
    ("male", "child"): ("a boy", "a little boy", "a young boy", "a small boy", "a schoolboy", "a male child"),
    ("female", "adult"): (
        "a grown woman",
        "an adult woman",
        "a middle-aged woman",
        "an adult lady",
        "a female adult",
        "a grown-up woman",
    ),
    ("male", "adult"): (
        "a grown man",
        "an adult man",
        "a middle-aged man",
        "an adult gentleman",
        "a male adult",
        "a grown-up man",
    ),
    ("female", "old"): (
        "an old woman",
        "an elderly woman",
        "an aged woman",
        "an elderly lady",
        "an old lady",
        "a female pensioner",
    ),
    ("male", "old"): (
        "an old man",
        "an elderly man",
        "an aged man",
        "an elderly gentleman",
        "an old gentleman",
        "a male pensioner",
    ),
    ("female", None): (
        "a female speaker",
        "a female voice actor",
        "a female reader",
        "a female narrator",
        "a female person",
    ),
    ("male", None): (
        "a male speaker",
        "a male voice actor",
        "a male reader",
        "a male narrator",
        "a male person",
    ),
    (None, "child"): ("a child", "a young child", "a little child", "a kid", "a youngster", "a small child"),
    (None, "adult"): (
        "an adult",
        "a grown-up",
        "a grown person",
        "a middle-aged person",
        "an adult speaker",
        "an adult person",
    ),
    (None, "old"): (
        "an old person",
        "an elderly person",
        "an aged person",
        "a senior",
        "an elderly speaker",
        "a pensioner",
    ),
    (None, None): ("someone", "a person", "somebody", "an individual", "a voice actor"),
}
PERSONS_OF_NO_AGE = {
    "female": (
        "a woman",
        "a female speaker",
        "a lady",
        "a female voice actor",
        "a female reader",
        "a female narrator",
    ),
    "male": (
        "a man",
        "a male speaker",
        "a gentleman",
        "a male voice actor",
        "a male reader",
        "a male narrator",
    ),
}

PRONOUNS = {"female": ("she", "her"), "male": ("he", "his"), None: ("the speaker", "the")}
