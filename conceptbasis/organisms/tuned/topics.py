"""What people ask for: 300 harmless activities in twelve fields, in plain words of our own."""

from __future__ import annotations

from collections.abc import Mapping

_FIELDS = {
    "cooking": """
bake a loaf of bread; boil eggs; cook rice; make tomato soup; grill vegetables; roast a chicken;
make pancakes; prepare a fruit salad; brew green tea; make strong coffee; season a stew;
knead pizza dough; make apple jam; store fresh herbs; plan a week of lunches; peel garlic;
freeze leftovers; cook lentils; melt chocolate; whip cream; make a simple salad dressing;
steam fish; toast nuts; make oatmeal; bake a birthday cake""",
    "garden": """
plant tulip bulbs; grow tomatoes on a balcony; water house plants; prune a rose bush; mow a lawn;
start a compost heap; grow basil indoors; repot a cactus; plant an apple tree; feed garden birds;
dig a small pond; pull out weeds; grow strawberries; build a raised bed; trim a hedge;
collect rain water; keep slugs off lettuce; sow carrots; dry lavender; grow pumpkins;
attract bees to a garden; plant a herb garden; rake autumn leaves; choose plants for shade;
save seeds for next year""",
    "travel": """
pack a small suitcase; plan a train journey; read a subway map; book a quiet hotel;
choose a travel pillow; stay awake on a long drive; visit a museum with children; find a campsite;
write a postcard; exchange money abroad; learn ten words of Spanish; pack for a beach holiday;
plan a picnic; take a night bus; avoid jet lag; rent a bicycle; hike in the mountains;
pitch a tent; keep a travel diary; spend a day in a new city; travel with a baby; read a compass;
choose hiking boots; plan a city walk; pack a first aid kit""",
    "music": """
tune a guitar; learn to read music; practise piano scales; choose a first violin; sing in a choir;
write a short song; keep a steady rhythm; clean a flute; listen to an opera; learn the drums;
record a song at home; pick a song for a wedding; store old records; play the harmonica;
form a small band; warm up my voice; learn chords quickly; play a song by ear; calm stage fright;
choose good headphones; teach a child to clap in time; make a playlist for a party; whistle a tune;
learn a dance; buy a used piano""",
    "sport": """
train for a long run; swim faster; stretch after exercise; throw a ball further;
learn to juggle; ride a bike uphill; choose running shoes; do a push-up properly;
play table tennis; warm up before a match; learn to skate; improve my balance; join a chess club;
build a weekly training plan; recover after a race; hold a tennis racket; climb an indoor wall;
learn to ski; row a small boat; score a game of darts; serve in volleyball; practise yoga at home;
measure my heart rate; jump rope; coach a team of children""",
    "home": """
paint a bedroom wall; fix a dripping tap; hang a heavy picture; clean a carpet; unblock a sink;
change a light bulb; sand a wooden table; organise a wardrobe; insulate a window; wash wool;
remove a coffee stain; polish silver; assemble a bookshelf; sharpen a kitchen knife;
patch a hole in a wall; clean an oven; sort old papers; save water at home; quiet a squeaky door;
decorate a small room; iron a shirt; dust high shelves; lay floor tiles; store winter clothes;
arrange a living room""",
    "school": """
write an essay; study for an exam; memorise a poem; learn the times tables; take good notes;
prepare a short talk; read faster; spell long words; write a book report; draw a graph;
understand fractions; learn the names of the planets; make a study plan; find books in a library;
work in a group; write a summary; learn a new alphabet; solve a crossword; practise handwriting;
keep a school diary; explain gravity to a child; do long division; stay focused in class;
write a short story; prepare for a spelling contest""",
    "animals": """
train a puppy to sit; brush a long-haired cat; feed a goldfish; build a bird house; walk two dogs;
clean a hamster cage; choose a pet for a family; groom a horse; teach a parrot to talk;
keep a rabbit happy; set up an aquarium; calm a nervous dog; watch birds in winter;
pick a name for a kitten; trim the nails of a dog; keep chickens; play with a kitten;
photograph butterflies; move house with a cat; raise silkworms; feed ducks safely;
make a bed for a dog; recognise animal tracks; adopt an older cat; bathe a dog""",
    "crafts": """
knit a scarf; sew on a button; fold a paper crane; carve a wooden spoon; make a candle;
draw a face; paint with watercolours; build a kite; weave a basket; make a greeting card;
press flowers; bind a notebook; mould clay; make a puppet; sew a cushion; braid a bracelet;
print a pattern on cloth; make a paper lantern; crochet a hat; build a model ship; frame a photo;
make soap; mix colours; sketch a tree; quilt a blanket""",
    "computers": """
back up my photos; write a polite email; choose a strong password; clean a keyboard;
sort files into folders; make a simple spreadsheet; learn to type faster; edit a short video;
print on both sides; set up a new phone; free up disk space; take a screenshot; scan a document;
learn a first programming language; write a small website; join a video call;
make text larger on a screen; charge a battery properly; connect a printer; name files clearly;
block annoying adverts; share a calendar; make a slide show; unsubscribe from newsletters;
take better photos with a phone""",
    "work": """
write a job application; prepare for an interview; run a short meeting; ask for a day off;
plan a work day; thank a colleague; write a business letter; give useful feedback; take a break;
welcome a new colleague; make a to-do list; set a fair price; keep receipts in order;
plan a small budget; open a small shop; speak in public; write a product description;
learn from a mistake; say no politely; work from home; lead a small team; hand over a project;
plan a team lunch; answer a complaint; design a business card""",
    "daily life": """
fall asleep earlier; wake up early; drink more water; meet new neighbours; plan a birthday party;
write a thank-you note; wrap a present; save a little money; choose a new coat; learn to relax;
carry heavy bags; keep a diary; cut my screen time; cook for two; host a dinner; tie a tie;
remember names; make a shopping list; choose a good book; plan a quiet weekend; learn first aid;
sit properly at a desk; apologise to a friend; cheer up a friend; celebrate a small success""",
}


def _split(text: str) -> tuple[str, ...]:
    return tuple(" ".join(part.split()) for part in text.split(";"))


HARMLESS: Mapping[str, tuple[str, ...]] = {name: _split(text) for name, text in _FIELDS.items()}
"""Harmless activities by field, each a verb and what follows it."""
