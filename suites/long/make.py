"""Writes suites/long/suite.jsonl: documents of one thousand to four thousand tokens, by rules and a fixed seed.

    python3 suites/long/make.py
"""
import json
import pathlib
import random

DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
WINDS = ["a light breeze from the west", "no wind at all", "gusts from the north-east", "a steady wind from the south",
         "fog until noon", "drizzle and a falling barometer", "clear skies and a hard frost"]
EVENTS = ["The mail boat brought {n} letters and took {m} away.", "The lamp burned {n} hours on {m} litres of oil.",
          "{n} ships passed, {m} of them under sail.", "The keeper mended {n} nets and counted {m} seals on the reef.",
          "A crate with {n} candles and {m} tins of coffee came ashore.", "The hens laid {n} eggs; the dog ate {m} of them.",
          "The clock was {n} seconds fast and was set back by {m}.", "Two painters used {n} brushes and {m} buckets of white."]
THOUGHTS = ["Nobody remembers when the door was last locked.", "The old map hangs upside down again.",
            "It is said that the cellar floods at every spring tide, but today it stayed dry.",
            "The visitor asked many questions and listened to few answers.", "The kettle has a new handle of driftwood.",
            "In the evening there was music from the village, or it was the wind."]
PEOPLE = ["Ada", "Bram", "Chidi", "Dagny", "Emre", "Fatou", "Goran", "Hana", "Ines", "Jonas"]


def log_entry(rng, day):
    event = rng.choice(EVENTS).format(n=rng.randint(6, 90), m=rng.randint(1, 5))
    return f"Day {day}, {DAYS[day % 7]}: {rng.choice(WINDS)}. {event} {rng.choice(THOUGHTS)}"


def logbook(rng, days, hidden):
    lines = [f"Log of the lighthouse, {days} days, as the keeper wrote it."]
    for day in range(1, days + 1):
        lines.append(log_entry(rng, day))
        if day == hidden:
            lines.append("Note: the spare key is now under the third flowerpot, the one with the crack.")
    lines.append("Question: where is the spare key? Answer: under the third flowerpot, the one with the crack.")
    return "\n".join(lines)


def minutes(rng, items):
    lines = ["Minutes of the association of allotment gardeners."]
    for i in range(1, items + 1):
        speaker, other = rng.sample(PEOPLE, 2)
        lines.append(f"{i}. {speaker} proposed to spend {rng.randint(20, 400)} euros on {rng.choice(['a water butt', 'seed potatoes', 'a new gate', 'bee boxes', 'gravel for the path'])}. "
                     f"{other} asked whether {rng.choice(['last year', 'the neighbours', 'the town', 'a raffle'])} had not paid for this already. "
                     f"In favour {rng.randint(3, 20)}, against {rng.randint(0, 6)}, abstained {rng.randint(0, 4)}.")
    lines.append("The meeting closed at ten; whoever had brought the soup took the pot home.")
    return "\n".join(lines)


def ledger(rng, rows):
    lines = ["date,account,text,amount,balance"]
    balance = 120_000
    for row in range(rows):
        amount = rng.randint(-9_000, 9_500)
        balance += amount
        lines.append(f"2024-{row // 28 % 12 + 1:02}-{row % 28 + 1:02},{rng.choice(['cash', 'bank', 'card'])},"
                     f"{rng.choice(['rent', 'paint', 'timber', 'wages', 'sale', 'insurance'])},{amount / 100:.2f},{balance / 100:.2f}")
    return "\n".join(lines) + "\n"


def program(rng, functions):
    lines = ["# Conversions between the units of an imaginary market.", ""]
    for i in range(functions):
        unit, other = rng.sample(["bushel", "ell", "firkin", "gill", "hank", "peck", "rod", "span"], 2)
        lines += [f"def {unit}s_to_{other}s_{i}(amount: float) -> float:",
                  f'    """{rng.randint(2, 40)} {unit}s make {rng.randint(2, 9)} {other}s on market day {i % 7 + 1}."""',
                  "    if amount < 0:", f'        raise ValueError("an amount of {unit}s cannot be negative")',
                  f"    return amount * {rng.randint(1, 99)} / {rng.randint(2, 12)}", "", ""]
    return "\n".join(lines)


def chat(rng, turns):
    messages = [{"role": "system", "content": "You keep a shopping list. Repeat the whole list after every change."}]
    goods = ["apples", "bread", "candles", "dates", "eggs", "flour", "garlic", "honey", "ink", "jam", "kale", "lemons", "milk", "nails", "olives", "pears"]
    chosen = []
    for _ in range(turns):
        item = rng.choice(goods)
        if item in chosen:
            chosen.remove(item)
            messages.append({"role": "user", "content": f"I have {item} after all, take it off."})
        else:
            chosen.append(item)
            messages.append({"role": "user", "content": f"Please add {rng.randint(2, 12)} {item}."})
        messages.append({"role": "assistant", "content": "Your list: " + (", ".join(chosen) or "nothing") + "."})
    return messages


def main():
    rng = random.Random(7)
    prompts = [{"id": "logbook-1k", "text": logbook(rng, 24, 9)},
               {"id": "logbook-2k", "text": logbook(rng, 48, 12)},
               {"id": "logbook-4k", "text": logbook(rng, 97, 20)},
               {"id": "minutes-3k", "text": minutes(rng, 62)},
               {"id": "ledger-2k", "text": ledger(rng, 67)},
               {"id": "program-2k", "text": program(rng, 30)},
               {"id": "chat-2k", "messages": chat(rng, 60)}]
    with open(pathlib.Path(__file__).with_name("suite.jsonl"), "w", encoding="utf-8") as out:
        for prompt in prompts:
            out.write(json.dumps(prompt, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
