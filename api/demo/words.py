"""The words of the demonstration clinic: names, goals, tasks, reasons. All of them invented."""

GIVEN_NAMES = (
    "Amira", "Jonas", "Thandiwe", "Mateo", "Yuki", "Lena", "Rohan", "Beatriz", "Kwame", "Ingrid",
    "Farid", "Hannah", "Nikolai", "Siobhan", "Duc", "Aylin", "Gabriel", "Noor", "Oskar", "Leilani",
    "Tomasz", "Zainab", "Emil", "Priya", "Luca", "Marisol", "Kofi", "Freya", "Hiroshi", "Carmen",
    "Sami", "Agnieszka", "Dante", "Esther", "Viktor", "Meera", "Elif", "Paul", "Chidi", "Ronja",
    "Isaac", "Valentina", "Arjun", "Klara", "Tariq", "Nadia", "Felix", "Ximena", "Bilal", "Greta",
)  # fmt: skip

FAMILY_NAMES = (
    "Haddad", "Lindqvist", "Dlamini", "Fernández", "Tanaka", "Brandt", "Kapoor", "Oliveira",
    "Mensah", "Nygård", "Rahimi", "Weiss", "Petrov", "Gallagher", "Nguyễn", "Yıldız", "Moreau",
    "Al-Masri", "Keller", "Kahale", "Wójcik", "Bello", "Sørensen", "Iyer", "Bianchi", "Quispe",
    "Asante", "Hartmann", "Sato", "Navarro", "Demir", "Kowalska", "Rossi", "Cohen", "Ivanova",
    "Nair", "Schuster", "Okafor", "Berg", "Levy", "Castillo", "Rao", "Novák", "Siddiqui", "Popescu",
    "Vogel", "Marín", "Chaudhry", "Ruiz", "Eriksson",
)  # fmt: skip

MODALITIES = (
    "cognitive behavioural therapy",
    "psychodynamic therapy",
    "emotion-focused therapy",
    "systemic therapy",
    "integrative therapy",
)

GOALS = (
    "Ride the underground again without leaving at the next stop.",
    "Sleep through at least five nights of the week.",
    "Say no at work when a task is one too many.",
    "Meet a friend once a week, also in weeks that feel heavy.",
    "Speak about my father without going silent.",
    "Eat three meals a day and not skip the evening one.",
    "Finish the application and send it off.",
    "Get through a disagreement without leaving the room.",
    "Notice the first signs of panic and stay with them.",
    "Play music again, twice a week, for nobody but me.",
    "Drive the car on the motorway alone.",
    "Let my partner help when I am ill.",
)

REWORDED = "In other words, after talking it over: {goal}"

LEVELS = (
    "It is as hard as when we began.",
    "It works in some weeks, with help.",
    "It works in most weeks, without help.",
    "It works in every week.",
    "It is no longer anything to think about.",
)

TASKS = (
    "Keep a diary of the moments in which the tension rises.",
    "Practise the breathing exercise twice a day.",
    "Write the letter that will not be sent.",
    "Go one stop further than last week.",
    "Ask one colleague for help.",
    "Plan one pleasant hour for the weekend, and keep to it.",
    "Rehearse the conversation with an empty chair.",
    "Turn off the screens an hour before going to bed.",
)

REMARKS = (
    "Easier than expected.",
    "Only on three days; the week was full.",
    "It brought up a lot, good to have it written down.",
    "Not yet.",
)

ABSENCES = (
    "Ill with a cold.",
    "Overslept after a night shift.",
    "The train was cancelled.",
    "Forgot the appointment; called the day after.",
    "No message; reached by telephone in the evening.",
)

CANCELLATIONS = (
    "A child fell ill.",
    "Travelling for work.",
    "The therapist is ill.",
    "An appointment at an office that could not be moved.",
)

LATE_REASONS = (
    "The computer was down that afternoon; entered from the paper notes.",
    "Entered after returning from an emergency on the ward.",
    "The paper form lay in the wrong folder until today.",
    "Home visit without a connection; entered at the clinic.",
)

SUPERSEDING_REASON = "Two answers were read off the paper form in the wrong line."
MISFILED_REASON = "Entered for the wrong session; it belongs to the one before."
TIMES_REASON = "The session went on for ten minutes longer than was entered."
WORDING_REASON = "A word of the task was mistyped."

CLOSINGS = (
    "The goals that mattered are reached; ended as planned.",
    "Ended by agreement after the planned number of sessions.",
    "The client moves to another city.",
)

DROPPED_OUT = "Did not come back after a difficult stretch; three letters were not answered."
TRANSFER_REASON = "The therapist goes on parental leave."
REOPENING_REASON = "Asked to come again after a loss in the family."
WITHDRAWAL_REASON = "Does not want to go on with the treatment."

DOCUMENTS = {
    "treatment": "Information on psychotherapy, on the measures used, and on how we keep records",
    "supervision": "Information on supervision and on recordings of sessions",
    "telehealth": "Information on sessions by video and telephone",
}
